package body

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// JSON returns the body of a record as people read it: one line, names in a fixed order, as the schema
// docs/schemas/evidence.json says. A body that is JSON is returned as it is: those of records about the log
// itself, and all of logs that were written before bodies were protobuf. The error wraps ErrMalformed.
func JSON(kind evidence.Kind, encoding uint8, b []byte) ([]byte, error) {
	switch encoding {
	case evidence.EncodingJSON:
		return b, nil
	case evidence.EncodingProtobuf:
	default:
		return nil, fmt.Errorf("%w: encoding %d of a %s record is not known", ErrMalformed, encoding, kind)
	}
	m, err := Decode(kind, b)
	if err != nil {
		return nil, err
	}
	var shown any
	switch m := m.(type) {
	case *Verdict:
		shown = m.shown()
	case *DeadLetter:
		shown = m.shown()
	case *Breach:
		shown = m.shown()
	case *Recall:
		shown = m.shown()
	case *Consent:
		shown = m.shown()
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // "<" should be found where the user wrote it
	if err := enc.Encode(shown); err != nil {
		return nil, fmt.Errorf("%w: a %s record that JSON cannot say: %w", ErrMalformed, kind, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

type shownVerdict struct {
	EventID  string       `json:"event_id"`
	Kind     string       `json:"kind"`
	Action   string       `json:"action"`
	Decision string       `json:"decision,omitempty"`
	Reason   string       `json:"reason"`
	Hits     []shownHit   `json:"hits"`
	Rules    string       `json:"rules"`
	Fold     string       `json:"fold,omitempty"`
	Policy   string       `json:"policy,omitempty"`
	User     shownUser    `json:"user"`
	Time     string       `json:"time"`
	Op       string       `json:"operation"`
	Attached []shownFile  `json:"attachments,omitempty"`
	Push     *shownPush   `json:"push,omitempty"`
	Client   *shownEnd    `json:"client,omitempty"`
	Server   *shownEnd    `json:"server,omitempty"`
	Origin   shownOrigin  `json:"origin"`
	Key      string       `json:"key_sha256,omitempty"`
	Original shownMessage `json:"original"`
	Reduced  bool         `json:"reduced,omitempty"`
}

type shownHit struct {
	Rule       string `json:"rule"`
	Category   string `json:"category"`
	Severity   string `json:"severity"`
	State      string `json:"state,omitempty"`
	Field      string `json:"field"`
	Start      uint32 `json:"start"`
	End        uint32 `json:"end"`
	StartUTF16 uint32 `json:"start_utf16"`
	EndUTF16   uint32 `json:"end_utf16"`
	Text       string `json:"text"`
	Form       string `json:"form"`
	Confidence string `json:"confidence"`
}

type shownUser struct {
	ID       string `json:"id"`
	Group    string `json:"group,omitempty"`
	Verified bool   `json:"verified,omitempty"`
}

type shownFile struct {
	URI       string `json:"uri"`
	SHA256    string `json:"sha256,omitempty"`
	MediaType string `json:"media_type,omitempty"`
	Scan      string `json:"scan,omitempty"`
}

type shownPush struct {
	Class        string         `json:"class"`
	Channel      string         `json:"channel"`
	Campaign     string         `json:"campaign,omitempty"`
	Sender       string         `json:"sender,omitempty"`
	Label        string         `json:"label,omitempty"`
	Personalised bool           `json:"personalised,omitempty"`
	Expires      string         `json:"expires,omitempty"`
	Decision     *shownDecision `json:"decision,omitempty"`
}

type shownDecision struct {
	Decision      string        `json:"decision"`
	Reason        string        `json:"reason"`
	Limit         string        `json:"limit,omitempty"`
	Count         uint32        `json:"count,omitempty"`
	Max           uint32        `json:"max,omitempty"`
	NotBefore     string        `json:"not_before,omitempty"`
	Release       string        `json:"release,omitempty"`
	NotAfter      string        `json:"not_after,omitempty"`
	Replay        bool          `json:"replay,omitempty"`
	Mark          string        `json:"mark,omitempty"`
	Flags         []string      `json:"flags,omitempty"`
	At            string        `json:"at"`
	PolicyVersion string        `json:"policy_version,omitempty"`
	Pseudonym     string        `json:"pseudonym,omitempty"`
	PseudonymKey  string        `json:"pseudonym_key,omitempty"`
	Halt          *shownHalt    `json:"halt,omitempty"`
	Consent       *shownConsent `json:"consent,omitempty"`
	Group         string        `json:"group,omitempty"`
	GroupSource   string        `json:"group_source,omitempty"`
	Zone          string        `json:"zone,omitempty"`
	ZoneSource    string        `json:"zone_source,omitempty"`
	LocalTime     string        `json:"local_time,omitempty"`
	Quiet         []string      `json:"quiet,omitempty"`
	Deadline      string        `json:"deadline,omitempty"`
	Limits        []shownLimit  `json:"limits,omitempty"`
	LogSize       uint32        `json:"log_size,omitempty"`
}

type shownHalt struct {
	Scope string `json:"scope"`
	Value string `json:"value"`
	Since string `json:"since"`
	Why   string `json:"why,omitempty"`
	By    string `json:"by,omitempty"`
	ID    string `json:"id,omitempty"`
}

type shownConsent struct {
	Version uint64 `json:"version,omitempty"`
	State   string `json:"state"`
	Since   string `json:"since,omitempty"`
}

type shownLimit struct {
	ID    string `json:"id"`
	From  string `json:"from"`
	Count uint32 `json:"count"`
	Max   uint32 `json:"max"`
	By    string `json:"by"`
}

type shownEnd struct {
	Address string       `json:"address,omitempty"`
	Port    uint32       `json:"port,omitempty"`
	Device  *shownDevice `json:"device,omitempty"`
}

type shownDevice struct {
	Model string `json:"model,omitempty"`
	OS    string `json:"os,omitempty"`
	ID    string `json:"id,omitempty"`
	App   string `json:"app,omitempty"`
}

type shownOrigin struct {
	Source    string      `json:"source"`
	Topic     string      `json:"topic"`
	Partition int32       `json:"partition"`
	Offset    int64       `json:"offset"`
	Timestamp string      `json:"timestamp,omitempty"`
	First     *shownPlace `json:"first,omitempty"`
	Deferrals uint32      `json:"deferrals,omitempty"`
}

type shownPlace struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

type shownMessage struct {
	SHA256 string `json:"sha256"`
	Bytes  uint32 `json:"bytes"`
	Value  []byte `json:"value,omitempty"` // in base64
}

func (v *Verdict) shown() any {
	s := shownVerdict{
		EventID: v.EventId, Kind: "post", Action: Word(v.Action), Decision: Word(v.Decision), Reason: Word(v.Reason),
		Hits: make([]shownHit, len(v.Hits)), Rules: hex.EncodeToString(v.Rules), Fold: v.Fold, Policy: hex.EncodeToString(v.Policy),
		User: shownUser{v.Account, v.GroupWord(), v.Verified}, Time: time.UnixMilli(v.TimeMs).Add(time.Duration(v.TimeNs)).UTC().Format(time.RFC3339Nano), Op: v.Operation,
		Client: v.Client.shown(), Server: v.Server.shown(),
		Origin: v.Origin.shown(), Key: v.Origin.key(v.Account), Original: v.Original.shown(), Reduced: v.Reduced,
	}
	if v.Push != nil {
		s.Kind, s.Push = "push", v.Push.shown(v)
	}
	if s.Op == "" {
		s.Op = DefaultOperation(v.Push != nil)
	}
	for i, h := range v.Hits {
		s.Hits[i] = shownHit{
			Rule: h.Rule, Category: h.Category, Severity: Word(h.Severity), Field: h.Field,
			Start: h.Start, End: h.End, StartUTF16: h.StartUtf16, EndUTF16: h.EndUtf16,
			Text: h.Text, Form: h.Form, Confidence: "high",
		}
		if h.Shadow {
			s.Hits[i].State = "shadow"
		}
		if h.Weak {
			s.Hits[i].Confidence = "low"
		}
	}
	for _, a := range v.Attachments {
		s.Attached = append(s.Attached, shownFile{a.Uri, a.Sha256, a.MediaType, a.Scan})
	}
	return s
}

// DefaultOperation is what a user does where the event says nothing else, which a body leaves out.
func DefaultOperation(push bool) string {
	if push {
		return "push.send"
	}
	return "post.create"
}

func (p *Push) shown(v *Verdict) *shownPush {
	s := &shownPush{
		Class: p.ClassWord(), Channel: p.ChannelWord(), Campaign: p.Campaign, Sender: p.Sender,
		Label: p.Label, Personalised: p.Personalised, Expires: optional(p.Expires, p.ExpiresNs),
	}
	if p.Proof != nil {
		s.Decision = p.Proof.shown(v)
	}
	return s
}

func (p *Proof) shown(v *Verdict) *shownDecision {
	after := func(s *int64, ns uint32) string {
		if s == nil {
			return ""
		}
		return stamp(p.At+*s, ns)
	}
	s := &shownDecision{
		Decision: Word(v.Decision), Reason: Word(v.Reason), Limit: p.Limit, Count: p.Count, Max: p.Max,
		NotBefore: after(p.NotBefore, 0), Release: after(p.Release, p.ReleaseNs), NotAfter: after(p.NotAfter, p.NotAfterNs),
		Replay: p.Replay, Mark: hex.EncodeToString(p.Mark), At: stamp(p.At, 0), PolicyVersion: p.PolicyVersion,
		Pseudonym: Pseudonym(p.Pseudonym), PseudonymKey: hex.EncodeToString(p.PseudonymKey),
		Consent:     consent(p.ConsentVersion, p.ConsentState, p.ConsentSince),
		GroupSource: Word(p.GroupSource), Group: p.Group, Zone: p.Zone, ZoneSource: Word(p.ZoneSource),
		Deadline: after(p.Deadline, p.DeadlineNs), LogSize: p.LogSize,
	}
	for _, f := range p.Flags {
		s.Flags = append(s.Flags, Word(f))
	}
	if h := p.Halt; h != nil {
		s.Halt = &shownHalt{Word(h.Scope), h.Value, stamp(h.Since, h.SinceNs), h.Why, h.By, h.Id}
	}
	if i := int(p.Reached) - 1; i >= 0 && i < len(p.Limits) {
		s.Limit, s.Count, s.Max = p.Limits[i].Id, p.Limits[i].Count, p.Limits[i].Max
	}
	if p.GroupSource != GroupSource_GROUP_SOURCE_UNSPECIFIED && s.Group == "" {
		s.Group = v.GroupWord()
	}
	if p.UtcOffset != nil {
		s.LocalTime = time.Unix(p.At, 0).In(time.FixedZone("", int(*p.UtcOffset))).Format(time.RFC3339)
	}
	for i := 0; i+1 < len(p.Quiet); i += 2 {
		s.Quiet = append(s.Quiet, clock(p.Quiet[i])+"-"+clock(p.Quiet[i+1]))
	}
	for _, l := range p.Limits {
		s.Limits = append(s.Limits, shownLimit{l.Id, stamp(p.At-l.Window, 0), l.Count, l.Max, Word(l.By)})
	}
	return s
}

func (e *Endpoint) shown() *shownEnd {
	if e == nil {
		return nil
	}
	s := &shownEnd{Address: e.AddressText, Port: e.Port}
	if a, ok := netip.AddrFromSlice(e.Address); ok {
		s.Address = a.String()
	}
	if d := (shownDevice{e.DeviceModel, e.DeviceOs, e.DeviceId, e.DeviceApp}); d != (shownDevice{}) {
		s.Device = &d
	}
	return s
}

func (o *Origin) shown() shownOrigin {
	if o == nil {
		return shownOrigin{}
	}
	s := shownOrigin{Source: o.Source, Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Deferrals: o.Deferrals}
	if o.TimestampMs != nil {
		s.Timestamp = time.UnixMilli(*o.TimestampMs).UTC().Format(time.RFC3339Nano)
	}
	if o.FirstTopic != "" {
		s.First = &shownPlace{o.FirstTopic, o.FirstPartition, o.FirstOffset}
	}
	return s
}

// key returns the digest of the key of a message that belongs to an account.
func (o *Origin) key(account string) string {
	if o.GetKeyIsAccount() {
		sum := sha256.Sum256([]byte(account))
		return hex.EncodeToString(sum[:])
	}
	return hex.EncodeToString(o.GetKeySha256())
}

func (o *Original) shown() shownMessage {
	return shownMessage{hex.EncodeToString(o.GetSha256()), o.GetBytes(), o.GetValue()}
}

type shownDeadLetter struct {
	Kind     string       `json:"kind"`
	Stage    string       `json:"stage"`
	Reason   string       `json:"reason"`
	Detail   string       `json:"detail,omitempty"`
	Rules    string       `json:"rules"`
	Origin   shownOrigin  `json:"origin"`
	Key      string       `json:"key_sha256,omitempty"`
	Original shownMessage `json:"original"`
}

func (d *DeadLetter) shown() any {
	return shownDeadLetter{
		Kind: Word(d.Kind), Stage: Word(d.Stage), Reason: d.Reason, Detail: d.Detail, Rules: hex.EncodeToString(d.Rules),
		Origin: d.Origin.shown(), Key: d.Origin.key(""), Original: d.Original.shown(),
	}
}

type shownBreach struct {
	Cause         string `json:"cause"`
	Limit         string `json:"limit"`
	Count         uint32 `json:"count"`
	Max           uint32 `json:"max"`
	Size          int64  `json:"size"`
	WindowFrom    string `json:"window_from,omitempty"`
	WindowTo      string `json:"window_to"`
	Group         string `json:"group,omitempty"`
	Pseudonym     string `json:"pseudonym"`
	PseudonymKey  string `json:"pseudonym_key"`
	PolicyVersion string `json:"policy_version"`
	Policy        string `json:"policy"`
	From          string `json:"from,omitempty"`
	To            string `json:"to,omitempty"`
}

func (b *Breach) shown() any {
	return shownBreach{
		Cause: Word(b.Cause), Limit: b.Limit, Count: b.Count, Max: b.Max, Size: int64(b.Count) - int64(b.Max),
		WindowFrom: optional(b.WindowFrom, 0), WindowTo: stamp(b.WindowTo, 0), Group: b.Group,
		Pseudonym: Pseudonym(b.Pseudonym), PseudonymKey: hex.EncodeToString(b.PseudonymKey),
		PolicyVersion: b.PolicyVersion, Policy: hex.EncodeToString(b.Policy),
		From: optional(b.From, b.FromNs), To: optional(b.To, b.ToNs),
	}
}

type shownRecall struct {
	Mark         string        `json:"mark"`
	Class        string        `json:"class"`
	Channel      string        `json:"channel"`
	AllowedAt    string        `json:"allowed_at"`
	Reason       string        `json:"reason"`
	Policy       string        `json:"policy"`
	Consent      *shownConsent `json:"consent,omitempty"`
	Pseudonym    string        `json:"pseudonym"`
	PseudonymKey string        `json:"pseudonym_key"`
	Origin       shownOrigin   `json:"origin"`
}

func (r *Recall) shown() any {
	return shownRecall{
		Mark: hex.EncodeToString(r.Mark), Class: r.Class, Channel: r.Channel, AllowedAt: stamp(r.AllowedAt, 0),
		Reason: Word(r.Reason), Policy: hex.EncodeToString(r.Policy), Consent: consent(r.ConsentVersion, r.ConsentState, r.ConsentSince),
		Pseudonym: Pseudonym(r.Pseudonym), PseudonymKey: hex.EncodeToString(r.PseudonymKey), Origin: r.Origin.shown(),
	}
}

type shownConsents struct {
	EventID      string       `json:"event_id"`
	Time         string       `json:"time"`
	Version      uint64       `json:"version"`
	Group        string       `json:"group,omitempty"`
	Zone         string       `json:"zone,omitempty"`
	Quiet        string       `json:"quiet,omitempty"`
	DailyMax     *uint32      `json:"daily_max,omitempty"`
	Grants       []shownGrant `json:"grants"`
	Pseudonym    string       `json:"pseudonym"`
	PseudonymKey string       `json:"pseudonym_key"`
	Origin       shownOrigin  `json:"origin"`
	Original     shownMessage `json:"original"`
	Reduced      bool         `json:"reduced,omitempty"`
}

type shownGrant struct {
	Class       string `json:"class"`
	Channel     string `json:"channel"`
	Granted     bool   `json:"granted"`
	Time        string `json:"time"`
	Method      string `json:"method,omitempty"`
	TextVersion string `json:"text_version,omitempty"`
}

func (c *Consent) shown() any {
	s := shownConsents{
		EventID: c.EventId, Time: stamp(c.Time, c.TimeNs), Version: c.Version, Group: c.Group, Zone: c.Zone, Quiet: c.Quiet,
		DailyMax: c.DailyMax, Grants: make([]shownGrant, len(c.Grants)),
		Pseudonym: Pseudonym(c.Pseudonym), PseudonymKey: hex.EncodeToString(c.PseudonymKey),
		Origin: c.Origin.shown(), Original: c.Original.shown(), Reduced: c.Reduced,
	}
	for i, g := range c.Grants {
		s.Grants[i] = shownGrant{g.Class, g.Channel, g.Granted, stamp(g.Time, g.TimeNs), g.Method, g.TextVersion}
	}
	return s
}

// Pseudonym returns the name that a user has in Redis, of the bytes that a body holds of it.
func Pseudonym(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func consent(version uint64, state ConsentState, since *int64) *shownConsent {
	if state == ConsentState_CONSENT_STATE_UNSPECIFIED {
		return nil
	}
	return &shownConsent{version, Word(state), optional(since, 0)}
}

func stamp(seconds int64, ns uint32) string {
	return time.Unix(seconds, int64(ns)).UTC().Format(time.RFC3339Nano)
}

func optional(seconds *int64, ns uint32) string {
	if seconds == nil {
		return ""
	}
	return stamp(*seconds, ns)
}

// clock writes a minute of the day.
func clock(minute uint32) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }
