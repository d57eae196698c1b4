package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-moderation/weir/pipeline/event"
)

// desk is where a visitor sends something of their own and is told what became
// of it. It answers in plain text, for people who type curl.
type desk struct {
	base     string // http://127.0.0.1:1234
	dir      string
	taboos   *taboos
	now      func() time.Time
	patience time.Duration // how long to wait for an outcome

	tail *tail
	// send writes messages and says where they lie.
	send func(ctx context.Context, list []message) ([]place, error)
	// committed says how far the daemon is done, by topic and partition.
	committed func(ctx context.Context) (offsets, error)
	// written says how much the daemon has written.
	written func(ctx context.Context) (offsets, error)

	serial atomic.Int64
}

// Limits of what a visitor may send in one request.
const (
	maxBody  = 4 << 20 // the broker takes 1 MiB; a larger body is there to be refused by it
	maxTimes = 20
)

// listen opens the visitor's listener, on the loopback address only: what comes
// in by it is sent as if the platform had.
func listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for visitors: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listen for visitors: %s is not a loopback address; use 127.0.0.1:0", host)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for visitors: %w", err)
	}
	return l, nil
}

// serve answers visitors until ctx ends.
func (d *desk) serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           d.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve visitors: %w", err)
	case <-ctx.Done():
	}
	// Handlers see the end of ctx and stop waiting for outcomes.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.Shutdown(bound) != nil {
		_ = s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve visitors: %w", err)
	}
	return nil
}

func (d *desk) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.help)
	mux.HandleFunc("POST /posts", d.post)
	mux.HandleFunc("POST /pushes", d.push)
	mux.HandleFunc("GET /topics", d.topics)
	mux.HandleFunc("GET /topics/{name}", d.topic)
	// A page open in the visitor's browser must not be able to post here, nor
	// one that made a name of its own point to 127.0.0.1.
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		if !loopbackHost(r.Host) {
			refuse(rw, http.StatusMisdirectedRequest, "this is %s and no other name", d.base)
			return
		}
		guarded.ServeHTTP(rw, r)
	})
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// refuse says what is wrong with a request; what would be right stands after ";".
func refuse(rw http.ResponseWriter, status int, format string, args ...any) {
	rw.WriteHeader(status)
	fmt.Fprintf(rw, format+"\n", args...)
}

// body reads what the visitor wants to say. A body that begins with { is a
// message as it is, however broken; anything else is a text to be wrapped.
func body(rw http.ResponseWriter, r *http.Request) (text string, asIs, ok bool) {
	b, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			refuse(rw, http.StatusRequestEntityTooLarge, "more than %d bytes; a message may have 1 MiB at most", maxBody)
		} else {
			refuse(rw, http.StatusBadRequest, "the body ended early")
		}
		return "", false, false
	}
	text = string(b)
	asIs = strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{")
	if r.URL.Query().Get("unescape") != "" && !asIs {
		text = unescape(text)
	}
	return text, asIs, true
}

var escape = regexp.MustCompile(`(?:\\u[0-9a-fA-F]{4})+`)

// unescape turns \u200b and the like into what they stand for, so that what
// cannot be seen can be typed.
func unescape(s string) string {
	return escape.ReplaceAllStringFunc(s, func(run string) string {
		var units []uint16
		for _, hex := range strings.Split(run, `\u`)[1:] {
			n, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				return run // cannot be: four hex digits
			}
			units = append(units, uint16(n))
		}
		return string(utf16.Decode(units))
	})
}

// either returns the query's value, or the given one where the query has none.
func either(r *http.Request, name, otherwise string) string {
	if q := r.URL.Query(); q.Has(name) {
		return q.Get(name)
	}
	return otherwise
}

func (d *desk) newID() string { return fmt.Sprintf("try-%04d", d.serial.Add(1)) }

// post sends a post: POST /posts?from=USER&operation=comment&field=text.
func (d *desk) post(rw http.ResponseWriter, r *http.Request) {
	text, asIs, ok := body(rw, r)
	if !ok {
		return
	}
	from := either(r, "from", "visitor")
	if asIs {
		d.show(rw, r, []message{d.raw(topicPosts, event.Post, from, text)})
		return
	}
	e := &envelope{
		ID: d.newID(), Time: d.now().UTC(), User: userPart{ID: from, Group: either(r, "group", "")},
		Operation: either(r, "operation", "post.create"),
		Fields:    map[string]string{either(r, "field", "text"): text},
	}
	d.show(rw, r, []message{{topic: topicPosts, key: from, value: encode(e), kind: event.Post, id: e.ID}})
}

// push sends a push: POST /pushes?to=USER&class=marketing&channel=app&label=...&times=6.
func (d *desk) push(rw http.ResponseWriter, r *http.Request) {
	text, asIs, ok := body(rw, r)
	if !ok {
		return
	}
	times, err := strconv.Atoi(either(r, "times", "1"))
	if err != nil || times < 1 || times > maxTimes {
		refuse(rw, http.StatusBadRequest, "times: not a number from 1 to %d", maxTimes)
		return
	}
	to := either(r, "to", earlyBird)
	var list []message
	for range times {
		if asIs {
			list = append(list, d.raw(topicPushes, event.Push, to, text))
			continue
		}
		now := d.now().UTC()
		e := &envelope{
			ID: d.newID(), Time: now, User: userPart{ID: to, Group: either(r, "group", "")},
			Operation: "push.send",
			Fields:    map[string]string{"body": text},
			pushPart: &pushPart{
				Class: either(r, "class", "marketing"), Channel: either(r, "channel", "app"),
				Campaign: either(r, "campaign", "visitor"), Sender: either(r, "sender", "visitor"),
				Label: either(r, "label", adLabel), Personalised: either(r, "personalised", "") != "",
				Expires: now.Add(12 * time.Hour),
			},
		}
		list = append(list, message{topic: topicPushes, key: to, value: encode(e), kind: event.Push, id: e.ID})
	}
	d.show(rw, r, list)
}

// raw is a message sent as it came. Its user and id are looked for, not insisted on.
func (d *desk) raw(topic string, kind event.Kind, user, text string) message {
	m := message{topic: topic, key: user, value: []byte(text), kind: kind}
	var head struct {
		ID   string `json:"id"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if json.Unmarshal(m.value, &head) == nil {
		m.id = head.ID
		if head.User.ID != "" {
			m.key = head.User.ID
		}
	}
	return m
}

// show sends messages, waits for what becomes of them and tells it.
func (d *desk) show(rw http.ResponseWriter, r *http.Request, list []message) {
	ctx := r.Context()
	places, err := d.send(ctx, list)
	if err != nil {
		if errors.Is(err, kerr.MessageTooLarge) {
			refuse(rw, http.StatusRequestEntityTooLarge, "the broker takes no message as large as this; stay under 1 MiB")
		} else {
			refuse(rw, http.StatusServiceUnavailable, "the broker did not take it: %v", err)
		}
		return
	}
	answers := d.await(ctx, places)
	var b strings.Builder
	for i := range list {
		if len(list) > 1 {
			d.tellShort(&b, i+1, &list[i], &answers[i])
		} else {
			d.tell(&b, &list[i], places[i], &answers[i])
		}
	}
	if len(list) > 1 {
		b.WriteString("\nmore  curl -s '" + d.base + "/topics/" + topicDecisions + "?n=" + strconv.Itoa(len(list)) + "'\n")
	}
	_, _ = io.WriteString(rw, b.String())
}

// answer is what became of a message.
type answer struct {
	said []outcome
	done bool // nothing more will be said
	// written is, once the daemon has committed past the message, how much it
	// had written by then: all it has to say of the message is in there.
	written offsets
}

// await waits for what becomes of the messages at the given places, as long as
// a visitor's patience lasts.
func (d *desk) await(ctx context.Context, places []place) []answer {
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	answers := make([]answer, len(places))
	for {
		// Nobody may know how far the daemon is while none is running; then
		// what it says is all there is.
		committed, _ := d.committed(ctx)
		open := 0
		var more <-chan struct{}
		for i, p := range places {
			a := &answers[i]
			if a.done {
				continue
			}
			if a.written == nil && committed[p.topic][p.partition] > p.offset {
				a.written, _ = d.written(ctx)
			}
			// Ask before looking: what was read before is then seen by the look.
			read := a.written != nil && d.tail.reached(a.written)
			a.said, more = d.tail.about(p)
			if a.done = read || complete(a.said); !a.done {
				open++
			}
		}
		if open == 0 {
			return answers
		}
		select {
		case <-ctx.Done():
			return answers
		case <-more:
		case <-tick.C:
		}
	}
}

// complete reports whether everything that belongs together has arrived: a
// verdict stands on up to three topics.
func complete(said []outcome) bool {
	on := make(map[string]*outcome)
	for i := range said {
		on[said[i].topic] = &said[i]
	}
	if on[topicDeadLetter] != nil {
		return true
	}
	decision := on[topicDecisions]
	if decision == nil {
		return false
	}
	v := &decision.verdict
	return (v.Action == "pass" || on[topicReview] != nil) &&
		(v.Decision != "allow" || on[topicCleared] != nil) &&
		(v.Decision != "defer" || on[topicDeferred] != nil)
}

// topics lists the output topics.
func (d *desk) topics(rw http.ResponseWriter, _ *http.Request) {
	for _, name := range outputs() {
		fmt.Fprintf(rw, "%-16s  curl -s '%s/topics/%s?n=10'\n", name, d.base, name)
	}
}

// topic shows the newest messages of an output topic, or one that is remembered:
// GET /topics/NAME?n=10 or GET /topics/NAME?at=PARTITION:OFFSET.
func (d *desk) topic(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !strings.Contains(name, ".") {
		name = "weir." + name
	}
	n, err := strconv.Atoi(either(r, "n", "10"))
	if err != nil || n < 1 || n > ringMessages {
		refuse(rw, http.StatusBadRequest, "n: not a number from 1 to %d", ringMessages)
		return
	}
	list, ok := d.tail.last(name, n)
	if !ok {
		refuse(rw, http.StatusNotFound, "no such output topic; there are %s", strings.Join(outputs(), ", "))
		return
	}
	if at := r.URL.Query().Get("at"); at != "" {
		all, _ := d.tail.last(name, ringMessages)
		list = slices.DeleteFunc(all, func(o outcome) bool { return fmt.Sprintf("%d:%d", o.partition, o.offset) != at })
		if len(list) == 0 {
			refuse(rw, http.StatusNotFound, "%s remembers its newest %d messages, and %s is none of them; give at=PARTITION:OFFSET", name, len(all), visible(at))
			return
		}
	}
	if len(list) == 0 {
		fmt.Fprintf(rw, "nothing on %s yet\n", name)
		return
	}
	var b strings.Builder
	for i := range list {
		list[i].print(&b)
	}
	_, _ = io.WriteString(rw, b.String())
}
