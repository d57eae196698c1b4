package sinks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// The words that have a number in bodies. A test holds them against all words there are.
var (
	decisionOf     = body.Values[body.Decision]()
	reasonOf       = body.Values[body.Reason]()
	groupOf        = body.Values[body.Group]()
	classOf        = body.Values[body.Class]()
	channelOf      = body.Values[body.Channel]()
	flagOf         = body.Values[body.Flag]()
	consentStateOf = body.Values[body.ConsentState]()
	groupSourceOf  = body.Values[body.GroupSource]()
	zoneSourceOf   = body.Values[body.ZoneSource]()
	boundOf        = body.Values[body.Bound]()
	scopeOf        = body.Values[body.Scope]()
	kindOf         = body.Values[body.Kind]()
	stageOf        = body.Values[body.Stage]()
	causeOf        = body.Values[body.Cause]()
	severityOf     = map[rules.Severity]body.Severity{
		rules.Low: body.Severity_SEVERITY_LOW, rules.Medium: body.Severity_SEVERITY_MEDIUM,
		rules.High: body.Severity_SEVERITY_HIGH, rules.Critical: body.Severity_SEVERITY_CRITICAL,
	}
	actionOf = map[rules.Action]body.Action{
		rules.Pass: body.Action_ACTION_PASS, rules.Review: body.Action_ACTION_REVIEW, rules.Reject: body.Action_ACTION_REJECT,
	}
)

// shortDigest is how many bytes of a rule set's or policy's digest the record of a push holds that no rule
// hit. There are many of those records, and sixteen bytes name one among all sets that ever are.
const shortDigest = 16

// maxTerms is how many terms one record can be looked up by. Only rules can be more: of an event that more
// than two hundred of them hit, the first by place.
const maxTerms = 255

// verdictRecord makes the record of a verdict. The text of a push is kept only if a rule hit it: no other
// decision needs it. Its body is put together in b, where another one may have been before.
func verdictRecord(v *pipeline.Verdict, b *verdictBody) (evidence.Record, error) {
	r := evidence.Record{ID: evidence.ID(v.ID), Kind: evidence.KindHit, Class: evidence.ClassContent, Encoding: evidence.EncodingProtobuf}
	if v.Event.Kind == event.Push {
		r.Kind, r.Class = evidence.KindPush, evidence.ClassPush
	}
	err := b.of(v)
	if err != nil {
		return r, err
	}
	r.Subject, r.Terms = b.Account, verdictTerms(&b.Verdict)
	r.Body, err = body.Encode(&b.Verdict)
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		// Overlapping hits across long invisible stretches can quote a message
		// many times over. What is left out here the original says, too, and the
		// hits' spans point into it.
		b.Reduced, b.Attachments = true, nil
		for _, h := range b.Hits {
			h.Text = ""
		}
		r.Body, err = body.Encode(&b.Verdict)
	}
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		err = evidence.ErrTooLarge
	}
	return r, err
}

// verdictBody is the body of a hit or push record, with all that hangs on it in one piece, to be used again: a
// record is made for each push. It holds nothing that two judgements of the same message under the same rule set could tell
// differently, save what a push decision depends on: the time and the user's history. So it names no build and
// no instance. Those are in the start record and in the log's name.
//
// Clause: cmp-log
// The evidence of a hit holds account, time, kind of operation, both ends of the connection with port, client features, and the message itself.
// Clause: push-record
// The evidence of a push holds its decision with every input that led to it, and where the push was read.
type verdictBody struct {
	body.Verdict

	origin         originBody
	original       originalBody
	push           body.Push
	proof          body.Proof
	client, server endpointBody
	rules, policy  [sha256.Size]byte
	pseudonym      pseudonymBody
	mark           [8]byte
	expires, since int64
	notBefore      int64
	release        int64
	notAfter       int64
	deadline       int64
	offset         int32
}

// of makes it the body of a verdict, and nothing of what it was before is left.
func (b *verdictBody) of(v *pipeline.Verdict) error {
	*b = verdictBody{}
	e := v.Event
	b.EventId, b.Account, b.Verified = utf8Text(e.ID), utf8Text(e.User.ID), e.User.Verified
	b.TimeMs, b.TimeNs = e.Time.UnixMilli(), uint32(e.Time.Nanosecond()%1_000_000)
	b.Action, b.Fold = actionOf[v.Action], foldOf(v)
	b.Group, b.GroupName = coded(groupOf, e.User.Group)
	if op := utf8Text(e.Operation); op != body.DefaultOperation(e.Kind == event.Push) {
		b.Operation = op
	}
	var ok bool
	if b.Reason, ok = reasonOf[string(v.Reason)]; !ok {
		return unknown("reason", v.Reason)
	}
	var err error
	if b.Rules, err = unhex(b.rules[:], v.Rules); err != nil {
		return err
	}
	b.Origin, b.Original = b.origin.of(v.Origin, v.Record), b.original.of(v.Record.Value, e.Kind != event.Push || len(v.Hits) > 0)
	if key := v.Record.Key; len(key) > 0 && bytes.Equal(key, e.User.ID) {
		b.Origin.KeyIsAccount = true
	} else {
		b.origin.addKey(key)
	}
	b.Client, b.Server = b.client.of(&e.Client), b.server.of(&e.Server)
	for i := range e.Attachments {
		a := &e.Attachments[i]
		b.Attachments = append(b.Attachments, &body.Attachment{Uri: utf8Text(a.URI), Sha256: utf8Text(a.SHA256), MediaType: utf8Text(a.MediaType), Scan: utf8Text(a.Scan)})
	}
	if len(v.Hits) > 0 {
		b.Hits = hitBodies(v)
	}
	if e.Kind == event.Push {
		return b.addPush(v)
	}
	return nil
}

// addPush says what is to be sent and how that was decided.
func (b *verdictBody) addPush(v *pipeline.Verdict) error {
	var err error
	if b.Policy, err = unhex(b.policy[:], v.Policy); err != nil {
		return err
	}
	if len(v.Hits) == 0 {
		b.Rules, b.Policy = b.Rules[:min(shortDigest, len(b.Rules))], b.Policy[:min(shortDigest, len(b.Policy))]
	}
	p := &v.Event.Push
	b.Push = &b.push
	b.push.Class, b.push.ClassName = coded(classOf, p.Class)
	b.push.Channel, b.push.ChannelName = coded(channelOf, p.Channel)
	b.push.Campaign, b.push.Sender, b.push.Label, b.push.Personalised = utf8Text(p.Campaign), utf8Text(p.Sender), utf8Text(p.Label), p.Personalised
	b.push.Expires, b.push.ExpiresNs = optional(&b.expires, p.Expires)
	if v.Decision == nil {
		return nil
	}
	d := v.Decision
	if string(d.Reason) != string(v.Reason) {
		return fmt.Errorf("evidence: a decision for the reason %s in a verdict for the reason %s", d.Reason, v.Reason)
	}
	return b.addProof(d)
}

// addProof says how the decision came about.
func (b *verdictBody) addProof(d *push.Decision) error {
	p := &b.proof
	b.push.Proof = p
	at, _ := seconds(d.At)
	after := func(room *int64, t time.Time) (*int64, uint32) {
		s, ns := optional(room, t)
		if s != nil {
			*s -= at
		}
		return s, ns
	}
	p.At, p.PolicyVersion, p.Replay = at, utf8Text(d.PolicyVersion), d.Replay
	p.NotBefore, _ = after(&b.notBefore, d.NotBefore)
	p.Release, p.ReleaseNs = after(&b.release, d.Release)
	p.NotAfter, p.NotAfterNs = after(&b.notAfter, d.NotAfter)
	p.Deadline, p.DeadlineNs = after(&b.deadline, d.Deadline)
	p.ConsentVersion = d.Consent.Version
	p.ConsentSince, _ = optional(&b.since, d.Consent.Since)
	p.Zone, p.LogSize = utf8Text(d.Zone), count(d.LogSize)
	if !d.LocalTime.IsZero() {
		_, offset := d.LocalTime.Zone()
		b.offset = int32(offset)
		p.UtcOffset = &b.offset
	}
	if d.Group != b.GroupWord() {
		p.Group = utf8Text(d.Group)
	}
	for _, w := range d.Quiet {
		p.Quiet = append(p.Quiet, uint32(w.Start), uint32(w.End))
	}
	limits := make([]body.Limit, len(d.Limits))
	p.Limits = make([]*body.Limit, len(d.Limits))
	for i := range d.Limits {
		l := &d.Limits[i]
		p.Limits[i] = &limits[i]
		limits[i].Id, limits[i].Window, limits[i].Count, limits[i].Max = utf8Text(l.ID), at-l.From.Unix(), count(l.Count), count(l.Max)
		limits[i].By = boundOf[string(l.By)]
		if _, ok := boundOf[string(l.By)]; !ok {
			return unknown("source of a limit", l.By)
		}
		if l.ID == d.Limit && l.Count == d.Count && l.Max == d.Max {
			p.Reached = uint32(i + 1)
		}
	}
	if p.Reached == 0 {
		p.Limit, p.Count, p.Max = utf8Text(d.Limit), count(d.Count), count(d.Max)
	}
	if d.Flags != 0 {
		for _, w := range d.Flags.Words() {
			f, ok := flagOf[w]
			if !ok {
				return unknown("flag", w)
			}
			p.Flags = append(p.Flags, f)
		}
	}
	if h := d.Halt; h != nil {
		p.Halt = &body.Halt{Scope: scopeOf[string(h.Scope)], Value: utf8Text(h.Value), Why: utf8Text(h.Why), By: utf8Text(h.By), Id: utf8Text(h.ID)}
		p.Halt.Since, p.Halt.SinceNs = seconds(h.Since)
		if p.Halt.Scope == 0 {
			return unknown("scope of a halt", h.Scope)
		}
	}
	var ok bool
	if b.Decision, ok = decisionOf[string(d.Decision)]; !ok {
		return unknown("decision", d.Decision)
	}
	if p.ConsentState, ok = consentStateOf[string(d.Consent.State)]; !ok && d.Consent.State != "" {
		return unknown("state of consent", d.Consent.State)
	}
	if p.GroupSource, ok = groupSourceOf[string(d.GroupSource)]; !ok && d.GroupSource != "" {
		return unknown("source of a group", d.GroupSource)
	}
	if p.ZoneSource, ok = zoneSourceOf[string(d.ZoneSource)]; !ok && d.ZoneSource != "" {
		return unknown("source of a zone", d.ZoneSource)
	}
	var err error
	if p.Mark, err = unhex(b.mark[:], d.Mark); err != nil {
		return err
	}
	p.Pseudonym, p.PseudonymKey, err = b.pseudonym.of(d.Pseudonym, d.PseudonymKey)
	return err
}

// foldOf returns the version of the fold, unless it says no more than the rule set's digest: of a push that
// no rule hit.
func foldOf(v *pipeline.Verdict) string {
	if v.Event.Kind == event.Push && len(v.Hits) == 0 {
		return ""
	}
	return fold.Version
}

func hitBodies(v *pipeline.Verdict) []*body.Hit {
	report := v.Report().Hits
	hits, list := make([]body.Hit, len(report)), make([]*body.Hit, len(report))
	for i := range report {
		from, h := &report[i], &hits[i]
		list[i] = h
		h.Rule, h.Category, h.Severity, h.Shadow = from.Rule, from.Category, severityOf[v.Hits[i].Rule.Severity], from.State != ""
		h.Field, h.Start, h.End, h.StartUtf16, h.EndUtf16 = utf8Text(from.Field), count(from.Start), count(from.End), count(from.StartUTF16), count(from.EndUTF16)
		h.Text, h.Form, h.Weak = utf8Text(from.Text), from.Form, v.Hits[i].Form.Weak()
	}
	return list
}

// endpointBody is one end of a connection.
type endpointBody struct {
	body.Endpoint
	address [16]byte
}

func (b *endpointBody) of(e *event.Endpoint) *body.Endpoint {
	if len(e.Address) == 0 && e.Port == 0 && len(e.Device.Model) == 0 && len(e.Device.OS) == 0 && len(e.Device.ID) == 0 && len(e.Device.App) == 0 {
		return nil
	}
	b.Port = uint32(e.Port)
	b.DeviceModel, b.DeviceOs, b.DeviceId, b.DeviceApp = utf8Text(e.Device.Model), utf8Text(e.Device.OS), utf8Text(e.Device.ID), utf8Text(e.Device.App)
	if len(e.Address) == 0 {
		return &b.Endpoint
	}
	written := utf8Text(e.Address)
	var again [64]byte
	a, err := netip.ParseAddr(written)
	switch {
	case err != nil, a.Zone() != "", string(a.AppendTo(again[:0])) != written:
		b.AddressText = written
	case a.Is4():
		four := a.As4()
		b.Address = append(b.address[:0], four[:]...)
	default:
		b.address = a.As16()
		b.Address = b.address[:]
	}
	return &b.Endpoint
}

// originBody is where a message was read.
type originBody struct {
	body.Origin
	timestamp int64
	key       [sha256.Size]byte
}

func (b *originBody) of(o pipeline.Origin, r *pipeline.Record) *body.Origin {
	b.Source, b.Topic, b.Partition, b.Offset = utf8Text(o.Source), utf8Text(o.Topic), o.Partition, r.Offset
	if !r.Time.IsZero() {
		b.timestamp = r.Time.UnixMilli()
		b.TimestampMs = &b.timestamp
	}
	if p := r.Past; p != nil {
		b.FirstTopic, b.FirstPartition, b.FirstOffset, b.Deferrals = utf8Text(p.Topic), p.Partition, p.Offset, count(p.Count)
	}
	return &b.Origin
}

// addKey says which key the message had. No record does that must not name its user.
func (b *originBody) addKey(key []byte) {
	if key != nil {
		b.key = sha256.Sum256(key)
		b.KeySha256 = b.key[:]
	}
}

// originalBody is a message's value as received.
type originalBody struct {
	body.Original
	sum [sha256.Size]byte
}

// MaxOriginalBytes is how many bytes of a message an evidence record holds: they
// leave half of the largest record to what was found in them. A longer message is
// known by its length and SHA-256, and stays in Kafka for as long as its topic keeps it.
const MaxOriginalBytes = evidence.MaxBodyBytes / 2

// of describes a message, and holds its bytes if they are to be kept.
//
// Clause: pub-keep
// The bytes of a message as they were received are part of the evidence, with their SHA-256.
func (b *originalBody) of(value []byte, keep bool) *body.Original {
	b.sum = sha256.Sum256(value)
	b.Sha256, b.Bytes = b.sum[:], count(len(value))
	if keep && len(value) <= MaxOriginalBytes {
		b.Value = value
	}
	return &b.Original
}

// pseudonymBody is the name of a user in Redis and that of its key.
type pseudonymBody struct {
	name [12]byte
	key  [4]byte
}

func (b *pseudonymBody) of(name, key string) (n, k []byte, err error) {
	if k, err = unhex(b.key[:], key); err != nil || name == "" {
		return nil, k, err
	}
	if base64.RawURLEncoding.DecodedLen(len(name)) != len(b.name) {
		return nil, nil, fmt.Errorf("evidence: a pseudonym of %d characters, want %d", len(name), base64.RawURLEncoding.EncodedLen(len(b.name)))
	}
	if _, err := base64.RawURLEncoding.Decode(b.name[:], []byte(name)); err != nil {
		return nil, nil, fmt.Errorf("evidence: a pseudonym that is no base64url: %w", err)
	}
	return b.name[:], k, nil
}

// pseudonymous are the subject and the terms of a record that knows its user by that name only.
func pseudonymous(r *evidence.Record, pseudonym string) {
	r.Subject = "pseudonym:" + pseudonym
	r.Terms = append(r.Terms, evidence.Term{Name: "pseudonym", Value: pseudonym})
}

// unhex reads hex digits into room, all of it; nil for none.
func unhex(room []byte, s string) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	if hex.DecodedLen(len(s)) != len(room) {
		return nil, fmt.Errorf("evidence: %d hex digits, want %d", len(s), hex.EncodedLen(len(room)))
	}
	if _, err := hex.Decode(room, []byte(s)); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return room, nil
}

// utf8Text returns what is to be a string of a body. All texts of an event are UTF-8; of what else comes from
// outside, as the name of a topic, no evidence is to fail.
func utf8Text[T string | []byte](s T) string {
	t := string(s)
	if !utf8.ValidString(t) {
		t = strings.ToValidUTF8(t, string(utf8.RuneError))
	}
	return t
}

// coded returns the code of a word, or the word where it has none.
func coded[E ~int32](codes map[string]E, word []byte) (E, string) {
	if c, ok := codes[string(word)]; ok {
		return c, ""
	}
	return 0, utf8Text(word)
}

// count is a number that is never negative and never over four thousand million, as bodies have them.
func count(n int) uint32 { return uint32(max(0, min(n, 1<<32-1))) }

func seconds(t time.Time) (int64, uint32) { return t.Unix(), uint32(t.Nanosecond()) }

// optional is seconds for a time that need not be told, which is put into room.
func optional(room *int64, t time.Time) (*int64, uint32) {
	if t.IsZero() {
		return nil, 0
	}
	*room = t.Unix()
	return room, uint32(t.Nanosecond())
}

func unknown[S ~string](what string, word S) error {
	return fmt.Errorf("evidence: the %s %q has no number in package body", what, string(word))
}
