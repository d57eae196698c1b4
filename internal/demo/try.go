package demo

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weir-moderation/weir/internal/speech"
)

// A Trial is something for a visitor to try.
type Trial struct {
	Title   string
	Command string // to paste into a shell
	Where   string // where it shows up, and as what
}

func (d *desk) trials() []Trial {
	curl := func(path, data string) string {
		return fmt.Sprintf("curl -s '%s%s' -d '%s'", d.base, path, data)
	}
	zh, en := d.taboos.zh[0], d.taboos.en[0]
	spaced := strings.Join(strings.Split(zh, ""), `\u200b`)
	return []Trial{
		{
			Title:   "a post that is hit",
			Command: curl("/posts", "下班来看："+zh+"，"+en),
			Where:   topicReview + ", with the place of each hit in the text",
		},
		{
			Title:   "the same, evading: full-width letters, zero-width spaces",
			Command: curl("/posts?unescape=1", "下班来看："+spaced+"，"+speech.Wide(en)),
			Where:   topicReview + ", the span marked in what was really written",
		},
		{
			Title:   "a push to somebody who sleeps",
			Command: curl("/pushes?to="+nightOwl, "周末套票八折"),
			Where:   topicDeferred + ", as defer, quiet-hours; it is decided again when they wake",
		},
		{
			Title:   "one push too many",
			Command: curl("/pushes?to="+earlyBird+"&times=6", "周末套票八折"),
			Where:   topicDecisions + ", as deny, cap, with the limit that was reached",
		},
		{
			Title:   "broken JSON",
			Command: curl("/posts", `{"id":"post-1","user":{"id":"u-0042"`),
			Where:   topicDeadLetter + ", with stage and reason in its headers",
		},
		{
			Title:   "a canary, the harmless string every category must catch",
			Command: curl("/posts", "hello "+d.taboos.canaries[0]),
			Where:   topicReview,
		},
	}
}

// Guide says where everything is and what to try, for the start of a demo.
func (w *World) Guide() string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "  %-9s %s\n", name, value) }
	row("kafka", strings.Join(w.Brokers(), ", "))
	row("redis", w.RedisAddr())
	row("send", w.URL())
	row("config", w.ConfigPath())
	row("evidence", w.EvidenceDir())
	b.WriteString("\nwhat to try, from another terminal\n")
	for _, t := range w.Try() {
		fmt.Fprintf(&b, "\n  %s\n    %s\n    on %s\n", t.Title, t.Command, t.Where)
	}
	return b.String()
}

// help says what there is to try: GET /.
func (d *desk) help(rw http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	b.WriteString("The demo of Weir. Send something and see what becomes of it.\n\n")
	for _, t := range d.trials() {
		fmt.Fprintf(&b, "%s\n  %s\n  on %s\n\n", t.Title, t.Command, t.Where)
	}
	fmt.Fprintf(&b, `POST /posts    a body that begins with { is sent as it is, any other becomes the text of a post
               ?from=USER  &operation=comment  &field=text  &group=minor
               &unescape=1  turns \u200b and the like into the character
POST /pushes   the same for a push
               ?to=USER  &class=marketing|content|service|security  &channel=app|sms|email|popup
               &label=  &campaign=  &sender=  &personalised=1  &group=  &times=6
               users to try: %s (sleeps), %s (awake), %s (never agreed to anything)
GET /topics    the topics the daemon writes
GET /topics/%s?n=10
               the newest messages of one of them; &at=PARTITION:OFFSET for one message
`, nightOwl, earlyBird, stranger, topicReview)
	_, _ = io.WriteString(rw, b.String())
}
