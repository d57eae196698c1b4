package body

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-moderation/weir/sinks/evidence"
)

var update = flag.Bool("update", false, "write the golden bodies and the list of field numbers anew; what is on the list stays on it")

// golden is a body of each kind; all of them together have every field there is.
type golden struct {
	name string
	kind evidence.Kind
	body Message
}

func some(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func goldens() []golden {
	origin := func(offset int64) *Origin {
		return &Origin{Source: "prod", Topic: "weir.posts", Partition: 3, Offset: offset, TimestampMs: proto.Int64(1_795_492_799_250)}
	}
	kept := &Original{Sha256: some(32, 0x5a), Bytes: 17, Value: []byte(`{"id":"post-1"` + "\x00\xff}")}
	hash := &Original{Sha256: some(32, 0x5b), Bytes: 257}
	return []golden{
		{"hit", evidence.KindHit, &Verdict{
			EventId: "post-1", Action: Action_ACTION_REJECT, Reason: Reason_REASON_CONTENT, Rules: some(32, 0x11), Fold: "2-dfaab444",
			Account: "user-1", Group: Group_GROUP_MINOR, Verified: true, TimeMs: 1_795_492_800_123, TimeNs: 456_789, Operation: "comment",
			Hits: []*Hit{
				{Rule: "gambling.lure", Category: "gambling", Severity: Severity_SEVERITY_CRITICAL, Field: "text", Start: 4, End: 13, StartUtf16: 4, EndUtf16: 7, Text: "违禁品", Form: "fold"},
				{Rule: "insult.sound", Category: "insult", Severity: Severity_SEVERITY_LOW, Shadow: true, Field: "title", Start: 0, End: 300, EndUtf16: 150, Text: "<b> & so on", Form: "squeeze+pinyin", Weak: true},
			},
			Attachments: []*Attachment{{Uri: "s3://bucket/a.png", Sha256: strings.Repeat("AB", 32), MediaType: "image/png", Scan: "clean"}},
			Client:      &Endpoint{Address: []byte{203, 0, 113, 7}, Port: 50123, DeviceModel: "P60", DeviceOs: "Android 16", DeviceId: "d-77", DeviceApp: "reader/4.1"},
			Server:      &Endpoint{Address: append([]byte{0x20, 1, 0xd, 0xb8}, append(some(11, 0), 1)...), Port: 443},
			Origin: func() *Origin {
				o := origin(17)
				o.KeySha256 = some(32, 0x77)
				return o
			}(),
			Original: kept,
		}},
		{"hit-reduced", evidence.KindHit, &Verdict{
			EventId: "post-2", Action: Action_ACTION_REVIEW, Reason: Reason_REASON_CONTENT, Rules: some(32, 0x11), Fold: "2-dfaab444",
			Account: "user-2", GroupName: "business", TimeMs: 1_795_492_800_000, Reduced: true,
			Hits:   []*Hit{{Rule: "a", Category: "test", Severity: Severity_SEVERITY_MEDIUM, Field: "text", End: 1, EndUtf16: 1, Form: "fold"}},
			Client: &Endpoint{AddressText: "2001:DB8::1"}, Origin: origin(18), Original: &Original{Sha256: some(32, 0x5c), Bytes: 9 << 20},
		}},
		{"push", evidence.KindPush, &Verdict{
			EventId: "push-1", Decision: Decision_DECISION_ALLOW, Rules: some(16, 0x11), Policy: some(16, 0x22), Account: "user-1", Group: Group_GROUP_DEFAULT, TimeMs: 1_795_492_740_000,
			Push: &Push{Class: Class_CLASS_MARKETING, Channel: Channel_CHANNEL_APP, Campaign: "spring", Sender: "shop", Label: "广告", Personalised: true, Expires: proto.Int64(1_795_575_600), ExpiresNs: 5,
				Proof: &Proof{
					At: 1_795_492_800, PolicyVersion: "2026-11-a", Pseudonym: some(12, 0x33), PseudonymKey: some(4, 0x44), Mark: some(8, 0x55),
					NotAfter: proto.Int64(35_999), NotAfterNs: 7, Deadline: proto.Int64(82_800), DeadlineNs: 5, Replay: true,
					ConsentVersion: 3, ConsentState: ConsentState_CONSENT_STATE_GRANTED, ConsentSince: proto.Int64(1_792_814_400),
					GroupSource: GroupSource_GROUP_SOURCE_EVENT, ZoneSource: ZoneSource_ZONE_SOURCE_PROFILE, Zone: "Asia/Shanghai", UtcOffset: proto.Int32(28_800),
					Quiet: []uint32{1320, 480}, LogSize: 2, Flags: []Flag{Flag_FLAG_DEGRADED, Flag_FLAG_UNCONFIRMED},
					Limits: []*Limit{{Id: "mkt-hour", Window: 3599, Max: 1}, {Id: "vendor-cn-2026/app-day", Window: 43_200, Count: 1, Max: 2, By: Bound_BOUND_PRESET}, {Id: "user-daily", Window: -1, Max: 5, By: Bound_BOUND_USER}},
				}},
			Origin: &Origin{Source: "prod", Topic: "weir.deferred", Partition: 1, Offset: 9, KeyIsAccount: true, FirstTopic: "weir.pushes", FirstPartition: 2, FirstOffset: 70, Deferrals: 2}, Original: hash,
		}},
		{"push-cap", evidence.KindPush, &Verdict{
			EventId: "push-2", Decision: Decision_DECISION_DEFER, Reason: Reason_REASON_CAP, Rules: some(16, 0x11), Policy: some(16, 0x22), Account: "user-1", TimeMs: 1_795_492_740_000,
			Push: &Push{ClassName: "news", ChannelName: "tv", Proof: &Proof{
				At: 1_795_492_800, NotBefore: proto.Int64(3600), Release: proto.Int64(4200), ReleaseNs: 1, Group: "minor+elderly", GroupSource: GroupSource_GROUP_SOURCE_BOTH,
				UtcOffset: proto.Int32(-12_600), Zone: "America/St_Johns", ZoneSource: ZoneSource_ZONE_SOURCE_POLICY, Flags: []Flag{Flag_FLAG_GROUP_CONFLICT},
				Reached: 1, Limits: []*Limit{{Id: "news-day", Window: 41_400, Count: 2, Max: 2}},
			}},
			Origin: origin(19), Original: hash,
		}},
		{"push-halted", evidence.KindPush, &Verdict{
			EventId: "push-3", Decision: Decision_DECISION_DENY, Reason: Reason_REASON_HALTED, Rules: some(16, 0x11), Policy: some(16, 0x22), Account: "user-1", TimeMs: 1_795_492_740_000,
			Push: &Push{Class: Class_CLASS_SERVICE, Channel: Channel_CHANNEL_SMS, Proof: &Proof{
				At: 1_795_492_800, Limit: "send-log", Count: 64, Max: 64,
				Halt: &Halt{Scope: Scope_SCOPE_CAMPAIGN, Value: "spring", Since: 1_795_492_000, SinceNs: 1, Why: "complaints <1>", By: "officer-7", Id: "h1"},
			}},
			Origin: origin(20), Original: hash,
		}},
		{"deadletter", evidence.KindDeadLetter, &DeadLetter{
			Kind: Kind_KIND_POST, Stage: Stage_STAGE_DECODE, Reason: "missing", Detail: "event: user.id: missing", Rules: some(32, 0x11), Origin: origin(21), Original: kept,
		}},
		{"breach", evidence.KindBreach, &Breach{
			Cause: Cause_CAUSE_OUTAGE, Limit: "svc-day", Count: 32, Max: 30, WindowFrom: proto.Int64(1_795_406_400), WindowTo: 1_795_492_800, Group: "default",
			Pseudonym: some(12, 0x33), PseudonymKey: some(4, 0x44), PolicyVersion: "2026-11-a", Policy: some(32, 0x22),
			From: proto.Int64(1_795_490_000), FromNs: 1, To: proto.Int64(1_795_490_060), ToNs: 2,
		}},
		{"recall", evidence.KindRecall, &Recall{
			Mark: some(8, 0x55), Class: "marketing", Channel: "app", AllowedAt: 1_795_492_740, Reason: Reason_REASON_WITHDRAWN, Policy: some(32, 0x22),
			ConsentVersion: 4, ConsentState: ConsentState_CONSENT_STATE_WITHDRAWN, ConsentSince: proto.Int64(1_795_492_790),
			Pseudonym: some(12, 0x33), PseudonymKey: some(4, 0x44), Origin: origin(22),
		}},
		{"consent", evidence.KindConsent, &Consent{
			EventId: "c1", Time: 1_795_492_790, TimeNs: 1, Version: 4, Group: "minor", Zone: "Asia/Shanghai", Quiet: "21:00-08:00", DailyMax: proto.Uint32(0),
			Grants: []*Grant{
				{Class: "marketing", Channel: "app", Granted: true, Time: 1_795_492_780, TimeNs: 1, Method: "settings", TextVersion: "2026-05"},
				{Class: "marketing", Channel: "sms", Time: 1_795_492_790},
			},
			Pseudonym: some(12, 0x33), PseudonymKey: some(4, 0x44), Origin: origin(23), Original: hash,
		}},
		{"consent-reduced", evidence.KindConsent, &Consent{EventId: "c2", Version: 5, Reduced: true, Pseudonym: some(12, 0x33), PseudonymKey: some(4, 0x44), Origin: origin(24), Original: hash}},
	}
}

// same compares a text with a golden file.
func same(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", file, diff)
	}
}

// The bytes of each kind are what they always were, are read back as what was written, and are shown as the
// same JSON; who has only body.proto reads the same values from them.
func TestGolden(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("no python3 on this machine: no second reader")
	}
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			b, err := Encode(g.body)
			if err != nil {
				t.Fatal(err)
			}
			same(t, g.name+".hex", hex.EncodeToString(b)+"\n")
			back, err := Decode(g.kind, b)
			if err != nil || !proto.Equal(back, g.body) {
				t.Errorf("read back as %v, %v", back, err)
			}
			text, err := JSON(g.kind, evidence.EncodingProtobuf, b)
			if err != nil {
				t.Fatal(err)
			}
			same(t, g.name+".json", string(text)+"\n")
			if python == "" {
				return
			}
			cmd := exec.Command(python, "testdata/read.py", "body.proto", string(g.body.ProtoReflect().Descriptor().Name()))
			cmd.Stdin = bytes.NewReader(b)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			same(t, g.name+".txt", string(out))
		})
	}
}

// The bytes that FORMAT.md takes apart are those of a body.
func TestFormatTakesABodyApart(t *testing.T) {
	text, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Encode(&Verdict{EventId: "push-1", Decision: Decision_DECISION_ALLOW})
	if err != nil {
		t.Fatal(err)
	}
	if example := fmt.Sprintf("begin `% X`", b); !strings.Contains(string(text), example) {
		t.Errorf("FORMAT.md does not say %s", example)
	}
}

// The golden bodies leave out no field, so no field is unproved.
func TestGoldenBodiesHaveEveryField(t *testing.T) {
	seen := make(map[protoreflect.FullName]bool)
	var look func(m protoreflect.Message)
	look = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[f.FullName()] = true
			switch {
			case f.Kind() == protoreflect.MessageKind && f.IsList():
				for i := range v.List().Len() {
					look(v.List().Get(i).Message())
				}
			case f.Kind() == protoreflect.MessageKind:
				look(v.Message())
			}
			return true
		})
	}
	for _, g := range goldens() {
		look(g.body.ProtoReflect())
	}
	for i := range File_body_proto.Messages().Len() {
		m := File_body_proto.Messages().Get(i)
		for j := range m.Fields().Len() {
			if f := m.Fields().Get(j); !seen[f.FullName()] {
				t.Errorf("no golden body has %s", f.FullName())
			}
		}
	}
}

// numbers lists every field and every value of an enum with its number, as a reader depends on them.
func numbers() []string {
	var list []string
	for i := range File_body_proto.Messages().Len() {
		m := File_body_proto.Messages().Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			kind, presence := f.Kind().String(), ""
			switch {
			case f.Message() != nil:
				kind = string(f.Message().Name())
			case f.Enum() != nil:
				kind = string(f.Enum().Name())
			}
			if f.IsList() {
				presence = " repeated"
				if f.IsPacked() {
					presence += " packed"
				}
			} else if f.HasOptionalKeyword() {
				presence = " optional"
			}
			list = append(list, fmt.Sprintf("%s %d %s %s%s", m.Name(), f.Number(), f.Name(), kind, presence))
		}
	}
	for i := range File_body_proto.Enums().Len() {
		e := File_body_proto.Enums().Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			list = append(list, fmt.Sprintf("%s %d %s", e.Name(), v.Number(), v.Name()))
		}
	}
	return list
}

// What a number means never changes: bodies lie on disks for years. New fields are added to the list by
// -update, which takes nothing off it.
func TestNumbersNeverChange(t *testing.T) {
	const file = "testdata/numbers.txt"
	text, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	now := numbers()
	var kept []string
	for line := range strings.Lines(string(text)) {
		kept = append(kept, strings.TrimSuffix(line, "\n"))
		if !slices.Contains(now, kept[len(kept)-1]) {
			t.Errorf("body.proto had %q, and logs are full of it; give what is new another number and name", kept[len(kept)-1])
		}
	}
	for _, line := range now {
		if slices.Contains(kept, line) {
			continue
		}
		if kept = append(kept, line); !*update {
			t.Errorf("%q is not on the list; go test ./sinks/evidence/body -update puts it there for ever", line)
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(strings.Join(kept, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every field of body.proto is described in the line above it.
func TestEveryFieldIsDescribed(t *testing.T) {
	field := regexp.MustCompile(`^  (optional |repeated )?\w+ [a-z0-9_]+ = \d+;$`)
	lines := strings.Split(Source, "\n")
	found := 0
	for i, line := range lines {
		if !field.MatchString(line) {
			continue
		}
		if found++; !strings.HasPrefix(lines[i-1], "  // ") {
			t.Errorf("line %d: %s is not described", i+1, line)
		}
	}
	want := 0
	for i := range File_body_proto.Messages().Len() {
		want += File_body_proto.Messages().Get(i).Fields().Len()
	}
	if found != want {
		t.Errorf("%d fields are written as they should be, there are %d", found, want)
	}
}

// A body of an older Weir, which is JSON, is shown as it is, and so are the records about the log itself.
func TestJSONOfJSON(t *testing.T) {
	for _, kind := range evidence.Kinds() {
		const old = `{"event_id":"post-1","rules":"5e","later":[1,2]}`
		got, err := JSON(kind, evidence.EncodingJSON, []byte(old))
		if err != nil || string(got) != old {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
	}
	if _, err := JSON(evidence.KindHit, 2, nil); err == nil || !strings.Contains(err.Error(), "encoding 2 of a hit record is not known") {
		t.Errorf("an unknown encoding: %v", err)
	}
	if _, err := JSON(evidence.KindCoverage, evidence.EncodingProtobuf, nil); err == nil || !strings.Contains(err.Error(), "a coverage record has none in protobuf") {
		t.Errorf("coverage in protobuf: %v", err)
	}
	if _, err := JSON(evidence.KindHit, evidence.EncodingProtobuf, nil); err == nil || !strings.Contains(err.Error(), "a hit record without one") {
		t.Errorf("a body that is not here: %v", err)
	}
	if _, err := JSON(evidence.KindHit, evidence.EncodingProtobuf, []byte{0x0a, 0x05, 'x'}); err == nil || !strings.Contains(err.Error(), "not the protobuf of a hit record") {
		t.Errorf("a body cut short: %v", err)
	}
}

// What a later version has added is passed over; a value that this one does not know is shown by its number.
func TestLaterVersions(t *testing.T) {
	b, err := Encode(&Verdict{EventId: "x", Reason: 99, Origin: new(Origin), Original: new(Original)})
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, 0xf2, 0x07, 1, 'y') // field 126
	text, err := JSON(evidence.KindHit, evidence.EncodingProtobuf, b)
	var said struct{ Reason, Event_id string }
	if err != nil || json.Unmarshal(text, &said) != nil || said.Reason != "99" || said.Event_id != "x" {
		t.Errorf("%s, %v", text, err)
	}
}

// Whatever the bytes are, reading them ends in an error or in a JSON that is one line and says the same when
// it is made again.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens() {
		b, err := Encode(g.body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(g.kind), b)
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		m, err := Decode(evidence.Kind(kind), b)
		text, err2 := JSON(evidence.Kind(kind), evidence.EncodingProtobuf, b)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("Decode: %v; JSON: %v", err, err2)
		}
		if err != nil {
			return
		}
		if !json.Valid(text) || bytes.ContainsRune(text, '\n') {
			t.Fatalf("no line of JSON: %q", text)
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		shown, err := JSON(evidence.Kind(kind), evidence.EncodingProtobuf, again)
		if err != nil || !bytes.Equal(shown, text) {
			t.Fatalf("encoded again it says %s, %v, not %s", shown, err, text)
		}
	})
}
