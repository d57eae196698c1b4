package condition

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// push has a value of its own for every variable.
func push() (*event.Event, Hits) {
	return &event.Event{
			Kind: event.Push, Time: time.Date(2026, 11, 28, 23, 30, 0, 0, time.UTC), Operation: []byte("push.send"),
			User:   event.User{ID: []byte("u1"), Group: []byte("minor"), Verified: true},
			Fields: []event.Field{{Name: []byte("title"), Text: []byte("加微信 VX")}, {Name: []byte("text"), Text: []byte("今晚有奖")}},
			Attachments: []event.Attachment{
				{MediaType: []byte("image/png"), Scan: []byte("clean")},
				{MediaType: []byte("video/mp4"), Scan: []byte("infected")},
			},
			Client: event.Endpoint{Device: event.Device{Model: []byte("phone"), OS: []byte("os 5"), App: []byte("shop/2.1"), ID: []byte("d1")}},
			Push: event.PushPart{Class: []byte("marketing"), Channel: []byte("app"), Campaign: []byte("c7"), Sender: []byte("s1"),
				Label: []byte("广告"), Personalised: true},
		}, Hits{
			Count: 5, Distinct: 3, Sure: 4, Fields: []string{"title", "text"}, Forms: []string{"fold", "pinyin"},
		}
}

// Every variable is there with its value, and reads as empty where the event does
// not tell it.
func TestVariables(t *testing.T) {
	tests := map[string]struct{ full, empty string }{
		"event.kind":          {`event.kind == "push"`, `event.kind == "post"`},
		"event.time":          {`event.time == timestamp("2026-11-29T07:30:00+08:00")`, `event.time < timestamp("1970-01-01T00:00:00Z")`},
		"event.operation":     {`event.operation == "push.send"`, `event.operation == ""`},
		"event.user.group":    {`event.user.group == "minor"`, `event.user.group == ""`},
		"event.user.verified": {`event.user.verified`, `!event.user.verified`},
		"event.fields": {`event.fields["title"] == "加微信 VX" && event.fields.text.contains("奖") && "title" in event.fields`,
			`event.fields["title"] == "" && !("title" in event.fields) && size(event.fields) == 0`},
		"event.attachments":              {`size(event.attachments) == 2`, `event.attachments == []`},
		"event.attachments[].media_type": {`event.attachments[0].media_type == "image/png"`, `event.attachments.all(a, a.media_type == "x")`},
		"event.attachments[].scan":       {`event.attachments.exists_one(a, a.scan == "infected")`, `!event.attachments.exists(a, a.scan == "")`},
		"event.client.device.model":      {`event.client.device.model == "phone"`, `event.client.device.model == ""`},
		"event.client.device.os":         {`event.client.device.os == "os 5"`, `event.client.device.os == ""`},
		"event.client.device.app":        {`event.client.device.app.startsWith("shop/")`, `event.client.device.app == ""`},
		"event.push.class":               {`event.push.class == "marketing"`, `event.push.class == ""`},
		"event.push.channel":             {`event.push.channel == "app"`, `event.push.channel == ""`},
		"event.push.campaign":            {`event.push.campaign == "c7"`, `event.push.campaign == ""`},
		"event.push.sender":              {`event.push.sender == "s1"`, `event.push.sender == ""`},
		"event.push.label":               {`event.push.label == "广告"`, `event.push.label == ""`},
		"event.push.personalised":        {`event.push.personalised`, `!event.push.personalised`},
		"hits.count":                     {`hits.count == 5`, `hits.count == 0`},
		"hits.distinct":                  {`hits.distinct == 3`, `hits.distinct == 0`},
		"hits.sure":                      {`hits.sure == 4`, `hits.sure == 0`},
		"hits.fields":                    {`hits.fields == ["title", "text"]`, `!("title" in hits.fields)`},
		"hits.forms":                     {`"pinyin" in hits.forms`, `size(hits.forms) == 0`},
	}
	full, hits := push()
	for _, v := range Variables() {
		tt, ok := tests[v.Name]
		if !ok {
			t.Errorf("no test asks for %s", v.Name)
			continue
		}
		holds(t, tt.full, full, hits)
		holds(t, tt.empty, &event.Event{Kind: event.Post}, Hits{})
		delete(tests, v.Name)
	}
	for name := range tests {
		t.Errorf("%s is not in Variables", name)
	}
}

func holds(t *testing.T, source string, e *event.Event, h Hits) {
	t.Helper()
	c, err := Compile(source)
	if err != nil {
		t.Errorf("%s: %v", source, err)
		return
	}
	if ok, err := c.Eval(e, h); !ok || err != nil {
		t.Errorf("%s: %v, %v; want true", source, ok, err)
	}
}

// doc.go shows the variables that Variables returns, word by word and in its order.
func TestDocumentationShowsTheVariables(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, v := range Variables() {
		fmt.Fprintf(&want, "//\t%-30s %-19s %s\n", v.Name, v.Type, v.Doc)
	}
	if !strings.Contains(string(doc), "//\n"+want.String()+"//\n") {
		t.Errorf("the table of doc.go should be\n%s", want.String())
	}
}

// What the language is for can be said in it.
func TestLanguage(t *testing.T) {
	e, h := push()
	for _, source := range []string{
		`event.user.group == "minor" && hits.distinct >= 2`,
		`event.user.group in ["minor", "elderly"]`,
		`!(event.kind == "post") || hits.count > 10`,
		`event.kind == "push" ? event.push.class != "security" : hits.sure > 0`,
		`hits.count - hits.sure == 1 && hits.count * 2 + 1 == 11 && hits.count / 2 == 2 && hits.count % 2 == 1 && -hits.count < 0`,
		`size(event.fields["title"]) == 6 && event.fields["title"].size() == 6`,
		`event.fields["title"].endsWith("VX")`,
		`event.client.device.app.matches("^shop/[12]\\.")`,
		`event.client.device.app.matches(r"^shop/\d\.")`,
		`event.fields.exists(f, event.fields[f].contains("VX"))`,
		`event.fields.all(f, f in hits.fields)`,
		`event.fields == {"text": "今晚有奖", "title": "加微信 VX"} && event.fields != {"text": "今晚有奖"}`,
		`event.fields != {"text": "", "x": ""}`,
		`event.attachments.filter(a, a.scan == "infected").size() == 1`,
		`event.attachments[0] == event.attachments[0] && event.attachments[0] != event.attachments[1]`,
		`event.time >= timestamp("2026-10-01T00:00:00+08:00")`,
		`event.time.getHours("Asia/Shanghai") == 7 && event.time.getMinutes("Asia/Shanghai") == 30`,
		`event.time.getDayOfWeek("Asia/Shanghai") == 0 && event.time.getDayOfWeek("UTC") == 6`,
		"hits.count == 5 // as we say\n&& true",
	} {
		holds(t, source, e, h)
	}
}

// What cannot be right is refused when the set is loaded, at its place and with what
// would be.
func TestRefusals(t *testing.T) {
	deep := strings.Repeat("(", 400) + "true" + strings.Repeat(")", 400)
	tests := []struct{ source, want string }{
		{"", `1:1: the condition is empty; leave it out where the terms say all`},
		{" \n", `1:1: the condition is empty; leave it out where the terms say all`},
		{"hits.count > 1 // \xff", `1:1: the condition is not valid UTF-8`},
		{strings.Repeat("true && ", 250) + "true", `1:1: the condition has 2004 bytes; at most 2000 are read, so divide the rule into several`},
		{deep, `1:1: the condition is nested too deeply; leave out parentheses, or divide the rule into several`},

		// Names.
		{`event.user.grup == "minor"`, `1:12: event.user has no field grup; did you mean group?`},
		{`event.group == "minor"`, `1:7: event has no field group; did you mean event.user.group?`},
		{`event.user.id == "u1"`, `1:12: event.user has no field id; there are group, verified`},
		{`event.attachments.exists(a, a.scn == "infected")`, `1:31: attachment has no field scn; did you mean scan?`},
		{`evnt.kind == "post"`, `1:1: there is no evnt; did you mean event?`},
		{`user.group == "minor"`, `1:1: there is no user; did you mean event.user?`},
		{`count > 1`, `1:1: there is no count; did you mean hits.count?`},
		{`event.kind == post`, `1:15: there is no post; there are event and hits, and texts are written in "..."`},
		{`event.user.group.startWith("x")`, `1:18: there is no function startWith; did you mean startsWith?`},
		{`dyn(event).x == hits.cout`, `1:1: there is no function dyn; there are all, contains, endsWith, exists, exists_one, filter, ` +
			`getDayOfWeek, getHours, getMinutes, matches, size, startsWith, timestamp
1:22: hits has no field cout; did you mean count?`},
		{`string(hits.count) == "1"`, `1:1: there is no function string; there are all, contains, endsWith, exists, exists_one, filter, ` +
			`getDayOfWeek, getHours, getMinutes, matches, size, startsWith, timestamp`},
		{`has(event.user.group)`, `1:1: there is no has, for nothing is ever missing; write "title" in event.fields, or compare with ""`},
		{`event{} == event{}`, `1:6: a condition makes no structures; ask for fields of event and hits
1:17: a condition makes no structures; ask for fields of event and hits`},
		{"hits.count > 1 &&\n  event.user.grup == \"minor\" && event.push.sendr == \"\"", `2:14: event.user has no field grup; did you mean group?
2:44: event.push has no field sendr; did you mean sender?`},
		{`"微信" == event.knd`, `1:15: event has no field knd; did you mean kind?`},

		// Types.
		{`hits.count`, `1:1: the condition is of type int, not bool; compare it with something`},
		{`event.user`, `1:1: the condition is of type event.user, not bool; compare it with something`},
		{`hits.count == "a"`, `1:12: == does not take (int, string); both sides must be of one type`},
		{`hits.count > 1.5`, `1:12: > does not take (int, double); both sides must be int, both string or both timestamp`},
		{`event.user.group + "x" == "minorx"`, `1:18: + does not take (string, string); numbers are wanted, and whole ones`},
		{`!event.user.group`, `1:1: ! does not take (string); a bool is wanted`},
		{`event.user.group && true`, `1:11: this is of type string; bool is wanted here`},
		{`[1, "a"] == [1]`, `1:5: this is of type string; int is wanted here`},
		{`hits.count in hits.forms`, `1:12: in does not take (int, list(string)); write it as in "title" in hits.fields`},
		{`event.user["group"] == ""`, `1:11: [ ] does not take (event.user, string); ` +
			`write it as in event.fields["title"], and fields of other things after a dot`},
		{`(true ? 1 : "a") == 1`, `1:7: ?: does not take (bool, int, string); first a bool is wanted, then two values of one type`},
		{`event.fields["title"].contains(1)`, `1:23: contains does not take string.(int); write it as in event.fields["title"].contains("VX")`},
		{`event.attachments.scan == ""`, `1:19: a list(attachment) has no fields; ask for its members with exists, all or filter, ` +
			`as in event.attachments.exists(a, a.scan == "infected")`},
		{`event.user.group.name == ""`, `1:18: a string has no fields; end the name before the dot`},
		{`hits.count.exists(a, true)`, `1:5: exists, all, exists_one and filter go over lists and maps; this is of type int`},
		{`event.fields.exists(1, true)`, `1:21: exists, all, exists_one and filter begin with a name for the member, ` +
			`as in event.fields.exists(f, f == "title")`},
		{`event.user == event.user`, `1:6: event.user is not a value; ask for one of its fields: group, verified
1:20: event.user is not a value; ask for one of its fields: group, verified`},
		{`[hits] == [] && {"a": hits} == {}`, `1:2: hits is not a value; ask for one of its fields: count, distinct, fields, forms, sure
1:23: hits is not a value; ask for one of its fields: count, distinct, fields, forms, sure`},
		{`hits.count == 99999999999999999999`, `1:15: the number is too large`},

		// Constants.
		{`event.fields["a"].matches("a(")`, `1:27: the pattern is not in RE2 syntax: missing closing ): a(`},
		{`event.fields["a"].matches("(?=a)")`, `1:27: the pattern is not in RE2 syntax: invalid or unsupported Perl syntax: (?=`},
		{`event.fields["a"].matches("x{999}")`, `1:27: the pattern has 1001 instructions; the limit is 500, so repeat less or list words as terms`},
		{`event.fields["a"].matches(event.kind)`, `1:32: the pattern of matches must be written out, in "..."`},
		{`event.time > timestamp("1 October")`, `1:24: "1 October" is not a time; write it as "2026-10-01T08:00:00+08:00"`},
		{`event.time > timestamp(event.kind)`, `1:29: the time must be written out, in "..."`},
		{`event.time.getHours("Mars") < 8`, `1:21: there is no time zone "Mars"; write a name such as "Asia/Shanghai", or "UTC"`},
		{`event.time.getHours("Local") < 8`, `1:21: there is no time zone "Local"; write a name such as "Asia/Shanghai", or "UTC"`},
		{`event.time.getHours(event.kind) < 8`, `1:26: the time zone of getHours must be written out, in "..."`},
		{`event.time.getHours() < 8`, `1:12: getHours does not take timestamp.(); write it as in event.time.getHours("Asia/Shanghai") < 8`},

		// Syntax.
		{`event.kind = "post"`, `1:12: = cannot stand here; write ==`},
		{`hits.count => 2`, `1:12: => cannot stand here; write >=`},
		{`hits.count > 1 and true`, `1:16: and cannot stand here; write &&`},
		{`event.kind == “post”`, `1:15: “ cannot stand here; write texts in "..."`},
		{`（hits.count > 1）`, `1:1: （ cannot stand here; write (`},
		{`hits.count > 1 hits.sure`, `1:16: hits cannot stand here; a condition is comparisons joined by && and ||`},
		{`(hits.count > 1`, `1:16: the condition ends too early; something is missing, or a parenthesis is not closed`},
		{`hits.count > 1)`, `1:15: ) cannot stand here; no parenthesis is open`},
		{`event.kind == "post`, `1:15: " cannot stand here; end the text with ", and write \\ for a backslash`},

		// Costs.
		{`event.fields.exists(f, hits.fields.exists(g, f == g))`, `1:42: a loop cannot stand within a loop; ` +
			`ask with in, or use filter before it, as in event.attachments.filter(a, a.scan == "infected").exists(a, a.media_type == "image/png")`},
		{`event.fields.exists(f, event.fields[f].matches("[ab]{99}"))`, `1:1: the condition may cost 323507; the limit is 120000, ` +
			`so ask for less: smaller patterns, shorter words, fewer texts`},
	}
	for _, tt := range tests {
		c, err := Compile(tt.source)
		if err == nil {
			t.Errorf("%.80s: compiled to %v; want\n%s", tt.source, c, tt.want)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("%.80s: got\n%v\nwant\n%s", tt.source, err, tt.want)
		}
		var e *Error
		if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
			t.Errorf("%.80s: %v has no place", tt.source, err)
		}
	}
}

// A condition without an answer says so, in words that hold nothing of the event.
func TestNoAnswer(t *testing.T) {
	e, h := push()
	for _, source := range []string{
		`event.attachments[7].scan == "clean"`,
		`hits.count / (hits.count - 5) == 1`,
		`hits.count % (hits.count - 5) == 1`,
		`hits.count * 9223372036854775807 > 0`,
		`{"post": 1}[event.kind] == 1`,
	} {
		c, err := Compile(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if _, err := c.Eval(e, h); err != ErrUndefined { //nolint:errorlint // nothing may be wrapped around it
			t.Errorf("%s: got error %v, want ErrUndefined itself", source, err)
		}
	}
}

// largest returns an event with as much in it as there can be: texts so long and so
// many, and the most attachments.
func largest(texts, length, files int) (*event.Event, Hits) {
	e, h := push()
	e.Fields = nil
	for i := range texts {
		name := fmt.Sprintf("f%d", i)
		e.Fields = append(e.Fields, event.Field{Name: []byte(name), Text: []byte(strings.Repeat("a", length))})
		h.Fields = append(h.Fields, name)
	}
	e.Attachments = make([]event.Attachment, files)
	h.Fields = h.Fields[2:]
	return e, h
}

// costly are conditions that ask for as much as they can.
var costly = []string{
	`event.fields.exists(f, event.fields[f].contains("b"))`,
	`event.fields.exists(f, event.fields[f].contains("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"))`,
	`event.fields.exists(f, event.fields[f] < event.fields["f1"] || event.fields[f] != event.fields["f2"])`,
	`event.fields.exists(f, event.fields[f].matches("(a|aa)+b"))`,
	`event.fields.filter(f, event.fields[f].endsWith(event.push.label)).exists(f, f == "x")`,
	`event.fields["f0"].matches("a{90}b")`,
	`event.fields["f0"].contains(event.fields["f1"] == "" ? "x" : "aaaaaaaab")`,
	`event.fields["f0"].contains(event.fields["f1"])`,
	`(hits.count > 0 ? event.fields["f0"] : event.push.label).matches("a{20}b")`,
	`event.fields == event.fields && event.attachments == event.attachments && hits.fields == hits.forms`,
	`event.fields.all(f, f in hits.fields) || event.attachments.exists_one(a, a.scan == a.media_type)`,
	`size(event.attachments.filter(a, a.scan != "x") + event.attachments) + size(event.fields["f0"]) > 1`,
	`event.push.label.matches("[a-z]+$") || event.client.device.app.contains(event.push.label)`,
	`event.time.getHours("Asia/Shanghai") < 8 && event.user.group in ["minor", "elderly"] && hits.distinct >= 2`,
}

// hostile are conditions that load, and the sizes of an event that makes them cost
// more than the limit: texts of a megabyte, or too many to loop over.
var hostile = []struct {
	name, source         string
	texts, length, files int
}{
	{"contains", `event.fields.exists(f, event.fields[f].contains("b"))`, 10, 1 << 20, 0},
	{"compare", `event.fields.exists(f, event.fields[f] != event.fields["f1"])`, 10, 1 << 20, 0},
	{"pattern", `event.fields["f0"].matches("a{90}b")`, 2, 1 << 20, 0},
	{"patterns", `event.fields.exists(f, event.fields[f].matches("(a|aa)+b"))`, 64, 16_000, 0},
	{"many", `event.fields.all(f, f != "")`, MaxMembers + 1, 10, 0},
	{"attachments", `event.attachments.all(a, a.scan != "infected")`, 2, 10, MaxMembers + 1},
}

// A hostile event ends at the limit; the hit stands then. A usual one is answered.
func TestCostLimit(t *testing.T) {
	for _, tt := range hostile {
		c, err := Compile(tt.source)
		if err != nil {
			t.Errorf("%s: %v", tt.source, err)
			continue
		}
		e, h := largest(tt.texts, tt.length, tt.files)
		if _, err := c.Eval(e, h); err != ErrCost { //nolint:errorlint // nothing may be wrapped around it
			t.Errorf("%s: got error %v, want ErrCost itself", tt.source, err)
		}
		small, h := push()
		if _, err := c.Eval(small, h); err != nil {
			t.Errorf("%s: got error %v for a usual event", tt.source, err)
		}
	}
}

// A pattern is not even tried on a text that it would cost too much for: counting
// what has been done would come too late.
func TestPatternAsksFirst(t *testing.T) {
	c, err := Compile(`event.fields["f0"].matches("a{90}b")`)
	if err != nil {
		t.Fatal(err)
	}
	e, h := largest(2, 1<<20, 0)
	if _, _, err := c.plain.Eval(&input{event: e, hits: h}); !errors.Is(err, ErrCost) {
		t.Errorf("without counting: got error %v, want ErrCost", err)
	}
}

// The estimate holds for every event within the usual sizes: what is counted there
// stays below it, so such an event needs no counting.
func TestEstimateHolds(t *testing.T) {
	e, h := largest(usualFew, usualText, usualFew)
	long := []byte(strings.Repeat("a", anyWord))
	e.Push.Label, e.Client.Device.App, e.User.Group = long, long, long
	if in := (&input{event: e, hits: h}); in.usual() {
		h.Fields = h.Fields[:2]
	} else {
		t.Fatal("the event is not within the usual sizes")
	}
	tried := 0
	for _, source := range costly {
		tree, issues := language().Compile(source)
		if issues.Err() != nil {
			t.Errorf("%s: %v", source, issues.Err())
			continue
		}
		constants, err := inspect(tree)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		most, err := language().EstimateCost(tree, estimator{constants})
		if err != nil {
			t.Fatal(err)
		}
		c, err := Compile(source)
		if most.Max > CostLimit {
			if err == nil {
				t.Errorf("%s: may cost %d and is not refused", source, most.Max)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		_, details, err := c.counted.Eval(&input{event: e, hits: h})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		tried++
		if got := *details.ActualCost(); got > most.Max {
			t.Errorf("%s: costs %d, more than the estimate %d", source, got, most.Max)
		}
	}
	if tried < len(costly)/2 {
		t.Errorf("only %d conditions were tried", tried)
	}
}

// One condition is asked by several goroutines at once, each about its own event.
func TestConcurrently(t *testing.T) {
	c, err := Compile(`event.fields["title"].matches("^a+$") && event.time.getHours("Asia/Shanghai") == 7 && ` +
		`hits.fields == [event.fields["name"]]`)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				length, name := 1+j%2*2*usualText, fmt.Sprint("n", i) // plain and counted by turns
				letter := "ab"[j/2%2 : j/2%2+1]
				e := &event.Event{Kind: event.Post, Time: time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC), Fields: []event.Field{
					{Name: []byte("title"), Text: []byte(strings.Repeat(letter, length))}, {Name: []byte("name"), Text: []byte(name)}}}
				ok, err := c.Eval(e, Hits{Fields: []string{name}})
				if ok != (letter == "a") || err != nil {
					t.Errorf("%d characters %s: %v, %v", length, letter, ok, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Whatever is written, Compile refuses it or makes a condition that answers or says
// that it cannot; a usual event never meets the limit, and is answered the same
// whether costs are counted or not.
func FuzzCompile(f *testing.F) {
	for _, source := range append(costly,
		`event.user.grup == "minor"`, `hits.count / 0 == 1`, `event.time.getHours("UTC") < 8`, `“`, `"\u00e9".matches("é")`,
		`{1: 2}[hits.count] == 2`, `[[1], [2]].exists(l, 1 in l)`, `event.fields.exists_one(f, f > "a") ? true : hits.sure == 0`,
		`event.time >= timestamp("2026-10-01T00:00:00+08:00")`, `b"a" == b"b" || null == null || 1.5 < 2.5`) {
		f.Add(source)
	}
	usual, hits := largest(usualFew, usualText, usualFew)
	hits.Fields = hits.Fields[:usualFew]
	large, many := largest(40, 4*usualText, 40)
	f.Fuzz(func(t *testing.T, source string) {
		c, err := Compile(source)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("%q: %v has no place", source, err)
			}
			return
		}
		answer, err := c.Eval(usual, hits)
		if err != nil && err != ErrUndefined { //nolint:errorlint // nothing may be wrapped around it
			t.Fatalf("%q: %v for a usual event", source, err)
		}
		counted := &Condition{plain: c.counted, counted: c.counted}
		if again, err2 := counted.Eval(usual, hits); again != answer || err2 != err { //nolint:errorlint // the same
			t.Fatalf("%q: %v, %v; counted %v, %v", source, answer, err, again, err2)
		}
		if _, err := c.Eval(large, many); err != nil && err != ErrUndefined && err != ErrCost { //nolint:errorlint // the same
			t.Fatalf("%q: %v", source, err)
		}
	})
}
