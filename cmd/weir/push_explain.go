package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/pipeline/push"
)

type pushExplainCmd struct {
	userFlags
	Class   string    `help:"Only for this class of the policy." placeholder:"NAME"`
	Channel string    `help:"Only for this channel of the policy." placeholder:"NAME"`
	At      time.Time `help:"What would be decided at this time by what is known now, such as 2026-11-24T22:30:00+08:00; without it now." placeholder:"TIME"`
	JSON    bool      `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (pushExplainCmd) Help() string {
	return `Reads what Redis holds of a user and says what would be decided now about a push to them, for each class and channel of the policy, and why: their group, zone and local time, rest hours and when they end, consent with its version and since when, and for each limit its window, how many of how many were sent in it, and when there is room again. Times are those of the user's own zone. It changes nothing. The push that is asked about has its label, is not personalised, was never seen before and is within its deadline; its text is not judged, and whether its campaign, sender or class is halted is not looked at. There are colours on a terminal unless NO_COLOR is set.`
}

// Run explains what would be decided.
func (c *pushExplainCmd) Run(ctx context.Context, s streams) (err error) {
	_, policy, store, err := openPushes(c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := c.misuse(policy); err != nil {
		return &codeError{err, exitMisuse}
	}
	user, err := store.InspectUser(ctx, []byte(c.User))
	if err != nil {
		return awayError(err)
	}
	now := c.At
	if now.IsZero() {
		now = time.Now()
	}
	x := explainPushes(now, policy, &user, c.Class, c.Channel)
	if c.JSON {
		return jsonTo(s.out).Encode(x)
	}
	var b strings.Builder
	x.print(&b, paletteFor(s.out))
	_, err = io.WriteString(s.out, b.String())
	return err
}

// misuse says what the policy does not have.
func (c *pushExplainCmd) misuse(p *push.Policy) error {
	for _, x := range []struct {
		flag, name string
		known      []string
	}{{"--class", c.Class, p.Classes()}, {"--channel", c.Channel, p.Channels()}} {
		if x.name != "" && !slices.Contains(x.known, x.name) {
			return fmt.Errorf("%s: the policy has no %q; it has %s", x.flag, x.name, strings.Join(x.known, ", "))
		}
	}
	return nil
}

// pushExplanation is what explain finds out.
type pushExplanation struct {
	At            time.Time        `json:"at"`
	Pseudonym     string           `json:"pseudonym"`
	PseudonymKey  string           `json:"pseudonym_key"`
	Known         bool             `json:"known"` // Redis holds something of the user
	PolicyVersion string           `json:"policy_version"`
	Policy        string           `json:"policy"`
	Group         string           `json:"group"`
	GroupSource   push.GroupSource `json:"group_source"`
	Zone          string           `json:"zone"`
	ZoneSource    push.ZoneSource  `json:"zone_source"`
	LocalTime     time.Time        `json:"local_time"`
	Quiet         []push.Window    `json:"quiet"`
	Resting       bool             `json:"resting"`
	RestEnds      time.Time        `json:"rest_ends,omitzero"`
	RestBegins    time.Time        `json:"rest_begins,omitzero"`
	Flags         push.Flags       `json:"flags"`
	Doubtful      bool             `json:"doubtful,omitempty"` // Redis is not known to have all that users agreed to
	Profile       *profileReport   `json:"profile"`            // null if there is none
	Log           *logReport       `json:"log"`                // null if there is none
	Consent       []consentReport  `json:"consent"`
	Windows       []windowReport   `json:"windows"`
	Decisions     []explainedPush  `json:"decisions"`
	own           push.Window      // rest hours that the user has set and that count
	channels      int              // of the policy
	counted       int              // classes of it
}

type profileReport struct {
	Version  uint64 `json:"version,omitempty"`
	Group    string `json:"group,omitempty"`
	Zone     string `json:"zone,omitempty"`
	DailyMax *int   `json:"daily_max,omitempty"`
	Damaged  bool   `json:"damaged,omitempty"`
}

type logReport struct {
	Entries   int  `json:"entries"`
	Cancelled int  `json:"cancelled"` // of them
	Damaged   bool `json:"damaged,omitempty"`
}

type consentReport struct {
	Class   string `json:"class"`
	Channel string `json:"channel"`
	push.ConsentUse
}

type windowReport struct {
	ID        string      `json:"id"`
	Covers    []coverings `json:"covers"`
	Rolling   bool        `json:"rolling"`
	From      time.Time   `json:"from"`
	Until     time.Time   `json:"until"` // not in it any more
	Count     int         `json:"count"`
	Max       int         `json:"max"`
	By        push.Bound  `json:"by"`                  // who set the limit
	RoomAgain time.Time   `json:"room_again,omitzero"` // absent: now, or never
	Never     bool        `json:"never,omitempty"`
}

type coverings struct {
	Class    string   `json:"class"`
	Channels []string `json:"channels"`
}

type explainedPush struct {
	Class   string `json:"class"`
	Channel string `json:"channel"`
	Text    string `json:"text"` // the reason in words
	push.Decision
}

// explainPushes asks what would be decided about a push that has nothing wrong
// with itself.
func explainPushes(now time.Time, p *push.Policy, user *push.Inspection, class, channel string) *pushExplanation {
	st := push.StandingOf(now, p, &user.Profile)
	x := &pushExplanation{
		At: now.UTC().Truncate(time.Second), Pseudonym: user.Pseudonym, PseudonymKey: user.PseudonymKey, Known: user.HasProfile || user.HasLog,
		PolicyVersion: p.Version(), Policy: p.Digest(),
		Group: st.Group, GroupSource: st.GroupSource, Zone: st.Zone, ZoneSource: st.ZoneSource, LocalTime: st.LocalTime,
		Quiet: append([]push.Window{}, st.Quiet...), Resting: st.Resting, RestEnds: st.RestEnds, RestBegins: st.RestBegins, Flags: st.Flags, Doubtful: user.Profile.Doubtful,
		Consent: []consentReport{}, Windows: []windowReport{}, Decisions: []explainedPush{},
		channels: len(p.Channels()),
	}
	if st.OwnQuiet {
		x.own = user.Profile.Quiet
	}
	if user.HasProfile {
		x.Profile = &profileReport{Version: user.Profile.Version, Group: user.Profile.Group, Zone: user.Profile.Zone, Damaged: user.Profile.Unreadable}
		if user.Profile.DailyMax != push.NoDailyMax {
			x.Profile.DailyMax = new(int(user.Profile.DailyMax))
		}
	}
	if user.HasLog {
		x.Log = &logReport{Entries: len(user.Log.Entries), Cancelled: user.Log.Cancelled(), Damaged: user.Log.Unreadable}
	}
	asked := func(c, ch string) bool { return (class == "" || c == class) && (channel == "" || ch == channel) }
	for _, c := range p.Consents(now, &user.Profile) {
		if asked(c.Class, c.Channel) {
			x.Consent = append(x.Consent, consentReport{c.Class, c.Channel, c.ConsentUse})
		}
	}
	for _, w := range push.Windows(now, p, &user.Profile, &user.Log) {
		r := windowReport{ID: w.ID, Rolling: w.Rolling, From: w.From, Until: w.Until, Count: w.Count, Max: w.Max, By: w.By, RoomAgain: w.Again, Never: w.Never}
		about := false
		for _, c := range w.Covers {
			r.Covers = append(r.Covers, coverings(c))
			about = about || slices.ContainsFunc(c.Channels, func(ch string) bool { return asked(c.Class, ch) })
		}
		if about {
			x.Windows = append(x.Windows, r)
		}
	}
	for _, c := range p.Classes() {
		if p.Counts(c) {
			x.counted++
		}
		for _, ch := range p.Channels() {
			if !asked(c, ch) {
				continue
			}
			d, _ := push.Decide(now, p, &user.Profile, &user.Log, &push.Request{
				Class: []byte(c), Channel: []byte(ch), Label: []byte("explain"), Time: now,
				Mark: rand.Uint64(), // an id that no push of the user has
			})
			x.Decisions = append(x.Decisions, explainedPush{Class: c, Channel: ch, Text: x.words(&d), Decision: d})
		}
	}
	return x
}

// words says why in words, with times of the user's zone.
func (x *pushExplanation) words(d *push.Decision) string {
	again := ""
	if !d.NotBefore.IsZero() {
		again = "; again " + x.clock(d.NotBefore)
	}
	switch d.Reason {
	case push.ReasonNone:
		if !d.NotAfter.IsZero() {
			return "to be handed over by " + x.clock(d.NotAfter)
		}
		return "at any time"
	case push.ReasonCap:
		if again == "" {
			again = "; never again"
		}
		return fmt.Sprintf("%d of %d by limit %s%s", d.Count, d.Max, d.Limit, again)
	case push.ReasonNoConsent:
		if d.Consent.State == push.ConsentLater {
			return "the user agreed from " + x.clock(d.Consent.Since) + " on"
		}
		return "the user never agreed to it"
	case push.ReasonWithdrawn:
		return "the user withdrew consent at " + x.clock(d.Consent.Since)
	case push.ReasonQuietHours:
		return "it is rest time there" + again
	case push.ReasonHeld:
		if x.Doubtful {
			return "consent is not known to be complete" + again
		}
		return "the profile is damaged" + again
	case push.ReasonStore:
		return "the send log is damaged" + again
	}
	for _, r := range push.Reasons() {
		if r.Reason == d.Reason {
			return r.Text + again
		}
	}
	return again
}

// clock shows a time of the user's zone, without the year where that is this one.
func (x *pushExplanation) clock(t time.Time) string {
	if t = t.In(x.LocalTime.Location()); t.Year() != x.LocalTime.Year() {
		return t.Format(time.DateOnly + " 15:04")
	}
	return t.Format("01-02 15:04:05")
}

// print writes the explanation for people, in 100 columns where names are not
// too long.
func (x *pushExplanation) print(w io.Writer, p palette) {
	x.printUser(w, p)
	if len(x.Consent) > 0 {
		t := table{{"consent", "channel", "state", "since"}}
		for _, c := range x.Consent {
			state, since := string(c.State), ""
			if c.State == push.ConsentNone {
				state = "never given"
			}
			if !c.Since.IsZero() {
				since = x.clock(c.Since)
			}
			t = t.join([]string{c.Class, c.Channel, p.paint(stateColours[c.State], state), since}, 1)
		}
		fmt.Fprintln(w)
		x.all(t).print(w, p)
	}
	if len(x.Windows) > 0 {
		t := table{{"limit", "from", "until", "sent", "room again", "of"}}
		for i := range x.Windows {
			t = append(t, x.windowRow(&x.Windows[i], p))
		}
		fmt.Fprintln(w)
		t.print(w, p)
	}
	t := table{{"class", "channel", "decision", "why"}}
	for i := range x.Decisions {
		d := &x.Decisions[i]
		why := d.Text
		if d.Decision.Decision != push.Allow {
			why = string(d.Reason) + ": " + why
		}
		t = t.join([]string{d.Class, d.Channel, p.paint(wordColours[d.Decision.Decision], string(d.Decision.Decision)), why}, 1)
	}
	fmt.Fprintln(w)
	x.all(t).print(w, p)
}

// all writes "all" for all channels.
func (x *pushExplanation) all(t table) table {
	for _, row := range t[1:] {
		if n := strings.Count(row[1], ", ") + 1; n > 1 && n == x.channels {
			row[1] = "all"
		}
	}
	return t
}

var (
	stateColours = map[push.ConsentState]colour{push.ConsentGranted: green, push.ConsentLater: yellow, push.ConsentWithdrawn: red, push.ConsentUnknown: red}
	wordColours  = map[push.Word]colour{push.Allow: green, push.Defer: yellow, push.Deny: red}
)

// printUser writes what applies to the user whatever the push.
func (x *pushExplanation) printUser(w io.Writer, p palette) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%s%s%s\n", p.paint(bold, label), strings.Repeat(" ", 9-len(label)), fmt.Sprintf(format, args...))
	}
	known := ""
	if !x.Known {
		known = ", " + p.paint(yellow, "not known") + ": there is no profile and no send log"
	}
	line("user", "%s under key %s%s", x.Pseudonym, x.PseudonymKey, known)
	line("policy", "%s, digest %.16s", x.PolicyVersion, x.Policy)
	group := map[push.GroupSource]string{push.GroupFromProfile: "by the profile"}[x.GroupSource]
	switch has := func(f push.Flags) bool { return x.Flags&f != 0 }; {
	case has(push.ProfileUnreadable):
		group = "the strictest of all rules, since the profile is damaged"
	case has(push.GroupUnknown):
		group = "the profile names one that the policy does not know"
	case group == "":
		group = "nobody names another"
	}
	line("group", "%s (%s)", x.Group, group)
	zone := "by the profile"
	if x.Flags&push.ZoneDefaulted != 0 {
		zone = "by the policy; no other is known"
	}
	line("time", "%s in %s (%s)", x.LocalTime.Format("Monday 2006-01-02 15:04:05 -07:00"), x.Zone, zone)
	line("rest", "%s", x.rest(p))
	if x.Doubtful {
		line("consent", "%s to be complete in Redis: pushes that need it wait until it is read again", p.paint(yellow, "not known"))
	}
	switch {
	case x.Profile == nil:
		line("profile", "none: nobody has told what this user agreed to")
	case x.Profile.Damaged:
		line("profile", "%s: pushes that need consent wait for the user's next consent event", p.paint(red, "damaged"))
	default:
		own := ""
		if x.Profile.DailyMax != nil {
			own = ", by the user's wish at most " + pushes(*x.Profile.DailyMax) + " a day"
		}
		line("profile", "version %d%s", x.Profile.Version, own)
	}
	switch {
	case x.Log == nil:
		line("log", "none: nothing that counts was sent lately")
	case x.Log.Damaged:
		line("log", "%s: counted pushes wait; weir push rebuild makes it anew", p.paint(red, "damaged"))
	default:
		cancelled := ""
		if x.Log.Cancelled > 0 {
			cancelled = fmt.Sprintf(", %d of them cancelled", x.Log.Cancelled)
		}
		line("log", "%s%s", pushes(x.Log.Entries), cancelled)
	}
}

// rest says which rest hours apply, and when they end or begin.
func (x *pushExplanation) rest(p palette) string {
	if len(x.Quiet) == 0 {
		return "none"
	}
	var hours []string
	for _, q := range x.Quiet {
		h := q.String()
		if q == x.own {
			h += " (by the user's wish)"
		}
		hours = append(hours, h)
	}
	text := strings.Join(hours, " and ")
	switch {
	case x.Resting && x.RestEnds.IsZero():
		text += p.paint(yellow, "; now, and they never end")
	case x.Resting:
		text += p.paint(yellow, "; now, until "+x.clock(x.RestEnds))
	case !x.RestBegins.IsZero():
		text += "; not now, from " + x.clock(x.RestBegins)
	}
	return text
}

const barWidth = 10

func (x *pushExplanation) windowRow(r *windowReport, p palette) []string {
	full, c := barWidth, green
	if r.Max > 0 {
		full = min(barWidth, (barWidth*r.Count+r.Max-1)/r.Max)
	}
	until, again := x.clock(r.Until), p.paint(green, "now")
	if r.Rolling {
		until = "now"
	}
	if r.Count >= r.Max {
		c = red
		if again = x.clock(r.RoomAgain); r.Never {
			again = "never"
		}
	}
	bar := fmt.Sprintf("[%s%s] %d/%d", p.paint(c, strings.Repeat("=", full)), strings.Repeat(" ", barWidth-full), r.Count, r.Max)
	return []string{r.ID, x.clock(r.From), until, bar, again, x.counts(r.Covers)}
}

// counts says what a limit counts: classes, and the channels where it is not all.
func (x *pushExplanation) counts(covers []coverings) string {
	if len(covers) == x.counted && !slices.ContainsFunc(covers, func(c coverings) bool { return len(c.Channels) < x.channels }) {
		return "all that counts"
	}
	var parts, classes []string
	for i, c := range covers {
		classes = append(classes, c.Class)
		if i+1 < len(covers) && slices.Equal(covers[i+1].Channels, c.Channels) {
			continue
		}
		part := strings.Join(classes, ", ")
		if len(c.Channels) < x.channels {
			part += " by " + strings.Join(c.Channels, ", ")
		}
		parts, classes = append(parts, part), nil
	}
	return strings.Join(parts, "; ")
}
