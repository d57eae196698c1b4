// Keeps the page live: the server sends the middle of the page anew, and each section that changed takes the
// place of the one before. Without this script the page reloads itself.
"use strict";
(() => {
  const live = document.getElementById("live"), pulse = document.getElementById("pulse");
  if (!live || !pulse || !window.EventSource) return;
  let source, silence;

  const say = (ok) => {
    pulse.textContent = ok ? pulse.dataset.live : pulse.dataset.lost;
    pulse.classList.toggle("lost", !ok);
  };

  // Keeps what a reader has opened, and where the keyboard is.
  const replace = (before, after) => {
    for (const d of before.querySelectorAll("details[open][id]")) {
      after.querySelector("#" + CSS.escape(d.id))?.setAttribute("open", "");
    }
    if (before.outerHTML === after.outerHTML) return;
    const at = document.activeElement;
    const focused = at && before.contains(at) ? [...before.querySelectorAll("a, summary, [tabindex]")].indexOf(at) : -1;
    before.replaceWith(after);
    if (focused >= 0) after.querySelectorAll("a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
  };

  const take = (html) => {
    const next = new DOMParser().parseFromString(html, "text/html").body;
    const ids = (root) => [...root.querySelectorAll("section[id], figure[id]")].map((e) => e.id).join();
    const title = next.querySelector("#state")?.dataset.title;
    if (title && document.title !== title) document.title = title;
    if (ids(live) !== ids(next)) {
      location.reload(); // other sections than before: begin anew
      return;
    }
    // The sentence at the top is spoken when it changes, so it is changed only then.
    const spoken = live.querySelector("#state [role=status]"), now = next.querySelector("#state [role=status]");
    if (spoken && now) {
      if (spoken.innerHTML !== now.innerHTML) spoken.innerHTML = now.innerHTML;
      now.replaceWith(spoken.cloneNode(true));
    }
    for (const after of [...next.querySelectorAll("section[id]")]) {
      const before = document.getElementById(after.id);
      if (before) replace(before, document.importNode(after, true));
    }
  };

  const listen = () => {
    source = new EventSource(live.dataset.events);
    source.onmessage = (e) => {
      take(e.data);
      heard();
    };
    source.onerror = () => {
      say(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000); // it was refused: too many look
    };
  };
  const heard = () => {
    say(true);
    clearTimeout(silence);
    silence = setTimeout(() => say(false), 15000);
  };
  heard();
  listen();
})();
