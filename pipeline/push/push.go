// Package push says whether a push may be sent to this user now: consent, label,
// group, rest hours and frequency, under one [Policy].
//
// [Decide] is a pure function of the time, the policy, what the user has agreed
// to ([Profile]) and the pushes the user was allowed lately ([SendLog]). A
// [Store] keeps both in Redis: it reads them for a batch of pushes, decides, and
// commits what changed by compare-and-swap, so that two processes can never
// both use the same last slot. What it is not: it judges no content and knows no
// Kafka; a push whose content is prohibited never gets here.
//
// The one thing to know: a limit is not a counter. It is evaluated over the log
// of the user's allowed pushes, each under its id. So a push that is delivered
// twice consumes once, a blocked push consumes nothing, several limits hold all
// or none, and a changed cap, window, zone or group is exact from the next
// decision on.
package push

import (
	"encoding/json"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// Word is what is decided about a push.
type Word string

// The decisions.
const (
	Allow Word = "allow" // send it now
	Defer Word = "defer" // ask again, not before a time
	Deny  Word = "deny"  // do not send it
)

// Reason is one word for why a push was deferred or denied, the same in
// decisions, metrics and records. The list is closed.
type Reason string

// The reasons of decisions.
const (
	ReasonNone         Reason = "none"
	ReasonUnknownClass Reason = "unknown-class"
	ReasonContent      Reason = "content"
	ReasonHalted       Reason = "halted"
	ReasonCancelled    Reason = "cancelled"
	ReasonExpired      Reason = "expired"
	ReasonGroup        Reason = "group"
	ReasonUnlabelledAd Reason = "unlabelled-ad"
	ReasonNoConsent    Reason = "no-consent"
	ReasonWithdrawn    Reason = "withdrawn"
	ReasonQuietHours   Reason = "quiet-hours"
	ReasonCap          Reason = "cap"
	ReasonStore        Reason = "store"
	ReasonHeld         Reason = "held"
)

// ReasonText is a reason with the line that explains it.
type ReasonText struct {
	Reason Reason
	Text   string
}

// Reasons returns every reason in the order in which they are looked for.
func Reasons() []ReasonText {
	return []ReasonText{
		{ReasonNone, "nothing stands against it"},
		{ReasonUnknownClass, "its class or its channel is not in the push policy"},
		{ReasonContent, "its text hit a rule"},
		{ReasonHalted, "its campaign, sender or class is stopped"},
		{ReasonCancelled, "it was cancelled after it had been allowed"},
		{ReasonExpired, "its deadline has passed"},
		{ReasonGroup, "its class is forbidden for the user's group"},
		{ReasonUnlabelledAd, "it is advertising without its label"},
		{ReasonNoConsent, "the user has not agreed to its class on its channel"},
		{ReasonWithdrawn, "the user has withdrawn consent to its class on its channel"},
		{ReasonQuietHours, "it is rest time where the user is"},
		{ReasonCap, "the user has had as many as a limit allows"},
		{ReasonStore, "Redis is away, or the user's send log cannot be read or its times not be compared with ours, so nobody knows how many they have had"},
		{ReasonHeld, "the user's profile cannot be read, or consent is being read again after Redis may have lost some, so nobody knows what they agreed to"},
	}
}

// Outcome is a decision with a reason it can have.
type Outcome struct {
	Decision Word
	Reason   Reason
}

// Outcomes returns every pair of decision and reason there can be.
func Outcomes() []Outcome {
	list := []Outcome{{Allow, ReasonNone}}
	for _, r := range []Reason{ReasonQuietHours, ReasonCap, ReasonStore, ReasonHeld} {
		list = append(list, Outcome{Defer, r})
	}
	for _, r := range Reasons() {
		if r.Reason != ReasonNone {
			list = append(list, Outcome{Deny, r.Reason})
		}
	}
	return list
}

// Request is a push that asks to be sent. It borrows its bytes.
type Request struct {
	User, ID                                []byte
	Class, Channel, Campaign, Sender, Label []byte
	Personalised                            bool
	Group                                   []byte // the user's group, as the event says; empty when it says nothing
	Time                                    time.Time
	Expires                                 time.Time // zero for none

	// Categories are those of the rules that its text hit, in force or in shadow.
	Categories []string
	// Halt is the order that stops it, found by [Halts.Find]; nil for none.
	Halt *Halt

	// Mark is the push's id as send logs hold it: eight bytes of a keyed hash.
	// Store sets it; who calls Decide without one sets any number that no other
	// push of the user has.
	Mark uint64
}

// NewRequest returns what a push event asks for. It borrows the event's bytes.
func NewRequest(e *event.Event) Request {
	return Request{
		User: e.User.ID, ID: e.ID, Group: e.User.Group,
		Class: e.Push.Class, Channel: e.Push.Channel,
		Campaign: e.Push.Campaign, Sender: e.Push.Sender, Label: e.Push.Label,
		Personalised: e.Push.Personalised,
		Time:         e.Time, Expires: e.Push.Expires,
	}
}

// Decision is what was decided about one push, and everything that led to it.
// What was never looked at, because something else decided first, is left out.
//
// Clause: push-record
// A decision carries its inputs: time, policy, consent and its version, group, zone, local time, rest hours, and for every limit its window, count and cap; of a halt who ordered it, when and why.
type Decision struct {
	Decision Word   `json:"decision"`
	Reason   Reason `json:"reason"`

	// The limit that was reached, with its count before this push; of those
	// reached the first in the policy's order.
	Limit string `json:"limit,omitempty"`
	Count int    `json:"count,omitempty"`
	Max   int    `json:"max,omitempty"`

	// NotBefore is when a deferred push may be decided again, and when one that
	// was denied for a cap would have had room again.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Release is when a deferred push is decided again, or soon after.
	Release time.Time `json:"release,omitzero"`
	// NotAfter is the last second at which an allowed push may be handed over:
	// after it the deadline has passed or rest hours have begun. Zero for no end.
	NotAfter time.Time `json:"not_after,omitzero"`
	// Replay tells that this push had been allowed before and consumed nothing now.
	Replay bool `json:"replay,omitempty"`
	// Mark names an allowed push in a recall, as 16 hex digits. It is computed from
	// its id under a key, so that nobody needs to keep ids to call it back.
	Mark  string `json:"mark,omitempty"`
	Flags Flags  `json:"flags,omitzero"`

	At            time.Time `json:"at"` // decision time
	PolicyVersion string    `json:"policy_version,omitempty"`
	Pseudonym     string    `json:"pseudonym,omitempty"` // the user's name in Redis
	PseudonymKey  string    `json:"pseudonym_key,omitempty"`

	Halt        *Halt       `json:"halt,omitempty"` // the order that stops it
	Consent     ConsentUse  `json:"consent,omitzero"`
	Group       string      `json:"group,omitempty"` // both names, joined by "+", where event and profile disagree
	GroupSource GroupSource `json:"group_source,omitempty"`
	Zone        string      `json:"zone,omitempty"`
	ZoneSource  ZoneSource  `json:"zone_source,omitempty"`
	LocalTime   time.Time   `json:"local_time,omitzero"`
	Quiet       []Window    `json:"quiet,omitempty"`    // the rest hours that applied
	Deadline    time.Time   `json:"deadline,omitzero"`  // after which it must not be sent
	Limits      []LimitUse  `json:"limits,omitempty"`   // all that cover its class and channel
	LogSize     int         `json:"log_size,omitempty"` // entries of the send log it was decided on
}

// ConsentUse is what the profile said of a class and channel.
type ConsentUse struct {
	Version uint64       `json:"version,omitempty"` // of the profile
	State   ConsentState `json:"state"`
	Since   time.Time    `json:"since,omitzero"` // when it was given or withdrawn
}

// ConsentState tells how a user stands to a class on a channel.
type ConsentState string

// The states of consent.
const (
	ConsentNotNeeded ConsentState = "not-needed"
	ConsentNone      ConsentState = "none"
	ConsentGranted   ConsentState = "granted"
	ConsentLater     ConsentState = "later" // granted from a time that has not come yet
	ConsentWithdrawn ConsentState = "withdrawn"
	ConsentUnknown   ConsentState = "unknown" // the profile cannot be read, or may not be the newest
)

// ConsentStates returns all of them.
func ConsentStates() []ConsentState {
	return []ConsentState{ConsentNotNeeded, ConsentNone, ConsentGranted, ConsentLater, ConsentWithdrawn, ConsentUnknown}
}

// GroupSource tells who said which group a user belongs to.
type GroupSource string

// The sources of a group.
const (
	GroupFromPolicy  GroupSource = "policy" // nobody said anything the policy knows
	GroupFromEvent   GroupSource = "event"
	GroupFromProfile GroupSource = "profile"
	GroupFromBoth    GroupSource = "both" // they agree or, with a flag, both apply
)

// ZoneSource tells who said in which time zone a user lives.
type ZoneSource string

// The sources of a zone.
const (
	ZoneFromProfile ZoneSource = "profile"
	ZoneFromPolicy  ZoneSource = "policy"
)

// LimitUse is one limit at the time of a decision.
type LimitUse struct {
	ID    string    `json:"id"`
	From  time.Time `json:"from"`  // the first second of the window
	Count int       `json:"count"` // allowed in it before this push
	Max   int       `json:"max"`
	By    Bound     `json:"by"`
}

// Bound tells who set a limit.
type Bound string

// Who sets limits.
const (
	ByPolicy Bound = "policy" // the policy file itself
	ByPreset Bound = "preset" // a preset that it names; the limit's id begins with the preset's name
	ByUser   Bound = "user"
)

// Flags are what an auditor should see about a decision beside its reason.
type Flags uint16

// The flags.
const (
	// GroupConflict: event and profile name different groups; of each rule the stricter was applied.
	GroupConflict Flags = 1 << iota
	// GroupUnknown: a group was named that the policy does not know; the default was applied.
	GroupUnknown
	// ZoneDefaulted: the user's zone is not known; the policy's was applied.
	ZoneDefaulted
	// ProfileUnreadable: the record in Redis is damaged; the strictest rules of all groups were applied.
	ProfileUnreadable
	// LogUnreadable: the record in Redis is damaged; counted pushes wait.
	LogUnreadable
	// ClassDoubtful: its text hit a rule of a category that pushes of its class should not, such as advertising in a service message.
	ClassDoubtful
	// Degraded: Redis was away, so it was decided by what this process remembered and by the policy's rule for that.
	Degraded
	// Unconfirmed: the policy says durability: replicated, but no replica confirmed
	// in time that it has what this allowed push consumed. If the primary dies now,
	// as many may be sent above the caps.
	Unconfirmed
	// ClockOff: the clocks of this machine and of Redis are too far apart to count
	// in windows of time; counted pushes wait.
	ClockOff
)

// Words returns the set flags by name.
func (f Flags) Words() []string {
	words := []string{}
	for i, w := range [...]string{"group-conflict", "group-unknown", "zone-defaulted", "profile-unreadable", "log-unreadable", "class-doubtful", "degraded", "unconfirmed", "clock-off"} {
		if f>>i&1 != 0 {
			words = append(words, w)
		}
	}
	return words
}

// MarshalJSON writes the flags as a list of words.
func (f Flags) MarshalJSON() ([]byte, error) { return json.Marshal(f.Words()) }

// DenyContent is the decision on a push whose content was hit: nothing else was
// asked about it, and it consumes nothing.
func DenyContent(now time.Time, p *Policy, r *Request) Decision {
	return Decision{Decision: Deny, Reason: ReasonContent, At: now.UTC().Truncate(time.Second), PolicyVersion: p.version, Flags: p.doubt(r)}
}
