// Opens the status page of a demo in Chromium and looks at it as people do: light and dark, in both languages,
// on a narrow screen, by keyboard, without JavaScript. Anything wrong ends it with status 1.
//
//   MODULES  where npm has installed playwright-core and axe-core
//   WEIR     the program
//   SHOTS    a directory for screenshots; none are taken without it
//   WARM     for how many seconds the demo runs before anybody looks (default 12)
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { MODULES, WEIR, SHOTS, WARM = "12" } = process.env;
const require = createRequire(join(MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const demo = spawn(WEIR, ["demo", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
const base = await new Promise((resolve, reject) => {
  let said = "";
  demo.stdout.on("data", (b) => {
    said += b;
    const at = said.match(/status +(http:\/\/[0-9.:]+)\//);
    if (at) resolve(at[1]);
  });
  demo.on("exit", (code) => reject(new Error(`the demo ended with ${code}: ${said}`)));
  setTimeout(() => reject(new Error(`the demo names no address: ${said}`)), 60000).unref();
});

// Without the switches after the first, Chromium asks for hosts of its maker; as root it wants the first.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

const steps = [];
const step = async (name, f) => {
  try {
    await f();
    console.log(`ok    ${name}`);
  } catch (e) {
    console.log(`FAIL  ${name}\n${e.stack ?? e}`);
    steps.push(name);
  }
};

// open returns a page on which nothing may go wrong: no error, no message, no request to anybody else.
const open = async (path, options = {}, f) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", locale: "en-GB", ...options });
  try {
    const page = await context.newPage();
    const wrong = [];
    page.on("console", (m) => ["error", "warning"].includes(m.type()) && wrong.push(m.text()));
    page.on("pageerror", (e) => wrong.push(String(e)));
    page.on("request", (r) => r.url().startsWith(base) || wrong.push(`asks ${r.url()}`));
    const answer = await page.goto(base + path);
    assert.equal(answer.status(), 200);
    await f(page, context);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
};

const until = async (what, ask, patience = 30) => {
  for (const end = Date.now() + 1000 * patience; !(await ask()); await new Promise((r) => setTimeout(r, 200))) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
  }
};

const shot = async (page, name, options) => {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true, ...options });
};

const violations = async (page) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `    ${n.html.slice(0, 200)}\n    ${n.failureSummary}`).join("\n")}`);
};

try {
  await until("traffic", async () => {
    const r = await fetch(base + "/status.json");
    if (!r.ok) return false;
    const s = await r.json();
    return s.hits.rules.length > 0 && s.push.some((d) => d.window > 0) && s.dead_letters.length > 0 && s.flow.window_seconds >= Number(WARM);
  }, 60 + Number(WARM));

  for (const scheme of ["light", "dark"]) {
    for (const [lang, locale] of [["en", "en-GB"], ["zh", "zh-CN"]]) {
      await step(`axe, ${scheme}, ${lang}`, () =>
        open("/", { colorScheme: scheme, locale }, async (page) => {
          assert.match(await page.locator("h1").innerText(), lang === "zh" ? /\p{Script=Han}/u : /[a-z]/);
          const light = await page.evaluate(() => parseInt(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]) > 128);
          assert.equal(light, scheme === "light", "the browser's colours");
          await shot(page, `${scheme}-${lang}`);
          await shot(page, `${scheme}-${lang}-top`, { fullPage: false });
          await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
          assert.deepEqual(await violations(page), []);
        }));
    }
  }

  for (const width of [360, 700, 1600]) {
    for (const locale of ["en-GB", "zh-CN"]) {
      await step(`${width} px wide, ${locale}`, () =>
        open("/", { viewport: { width, height: 800 }, locale }, async (page) => {
          await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
          const wide = await page.evaluate(() => [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, .unseen, svg") && e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.outerHTML.slice(0, 80)));
          assert.deepEqual(wide, []);
          await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = false)));
          await shot(page, `${width}-${locale}`);
          if (width === 360 && locale === "en-GB") assert.deepEqual(await violations(page), []);
        }));
    }
  }

  await step("keyboard", () =>
    open("/", {}, async (page) => {
      const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
      await page.keyboard.press("Tab");
      assert.equal(await focused(), "Skip to the state");
      const order = [];
      for (let i = 0; i < 5; i++) {
        await page.keyboard.press("Tab");
        order.push(await focused());
      }
      assert.deepEqual(order, ["English", "中文", "Auto", "Light", "Dark"]);
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none", "the focus is not seen");
      await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
      assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
      await page.goto(base + "/");
      assert.equal(await page.locator("html").getAttribute("data-theme"), "dark", "it is not remembered");
      await page.locator("#flow-table summary").focus();
      await page.keyboard.press("Enter");
      assert.equal(await page.locator("#flow-table").getAttribute("open"), "");
    }));

  await step("live: it changes by itself, and what a reader has opened and reached stays", () =>
    open("/", { reducedMotion: "reduce" }, async (page) => {
      await page.evaluate(() => (window.here = true));
      await page.locator("#flow-table summary").click();
      await page.locator("#flow-table summary").focus();
      const number = () => page.locator("#flow .ends.in .num").first().innerText();
      for (let n = 0; n < 2; n++) {
        const before = await number();
        await until("another number", async () => (await number()) !== before);
      }
      assert.equal(await page.evaluate(() => window.here), true, "the page was loaded anew");
      assert.equal(await page.locator("#flow-table").getAttribute("open"), "");
      assert.equal(await page.evaluate(() => document.activeElement.closest("details")?.id), "flow-table");
      assert.equal(await page.locator("#pulse").innerText(), "live");
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "something moves");
    }));

  await step("without JavaScript", () =>
    open("/", { javaScriptEnabled: false }, async (page) => {
      const html = await (await fetch(base + "/")).text();
      assert.match(html, /<noscript><meta http-equiv="refresh" content="10"><\/noscript>/);
      assert.notEqual((await page.locator("h1").innerText()).trim(), "");
      assert.equal(await page.locator("#pulse").innerText(), "reloads every 10 s");
      await page.getByRole("link", { name: "中文" }).click();
      assert.match(await page.locator("#flow-h").innerText(), /消息流/);
      await page.getByRole("link", { name: "深色" }).click();
      assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
      assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
      assert.ok((await page.locator("#flow .ends.out li").count()) > 4);
    }));

  await step("when the daemon is gone, the page says so", () =>
    open("/", {}, async (page) => {
      demo.removeAllListeners("exit");
      const gone = new Promise((r) => demo.on("exit", r));
      demo.kill("SIGTERM");
      await until("not live", async () => (await page.locator("#pulse").innerText()).startsWith("not live"));
      await gone; // although the page is still open
      page.removeAllListeners("console"); // of connections that are refused
    }));
} finally {
  await browser.close();
  demo.kill("SIGTERM");
}
console.log(steps.length ? `${steps.length} failed` : "all well");
process.exitCode = steps.length ? 1 : 0;
