package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

const testOrigin = "example.net/evidence/test/1"

// rules is the digest of the rule set that everything in the world was judged by.
var rules = sha256.Sum256([]byte("rules"))

// world is a log with something of everything, and who may write to it.
type world struct {
	t    *testing.T
	dir  string
	now  time.Time
	ring *keys.Ring // nil: nothing is encrypted
	log  *evidence.Log
	n    int

	store evidence.Store // where the log is durable, if not in dir
}

// begin begins a log on 27 November 2026; each record is a minute later.
func begin(t *testing.T, encrypt bool) *world { return beginIn(t, encrypt, nil) }

func beginIn(t *testing.T, encrypt bool, store evidence.Store) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), store: store, now: time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)}
	if store != nil {
		if err := evidence.WorkingCopy(t.Context(), store, w.dir, testOrigin); err != nil {
			t.Fatal(err)
		}
	}
	if encrypt {
		var err error
		w.ring, err = evidence.OpenKeys(w.dir, keys.Options{Now: w.clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.ring.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	w.open()
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) open() {
	w.t.Helper()
	var err error
	w.log, err = evidence.Open(evidence.Options{Dir: w.dir, Origin: testOrigin, Keys: w.ring, Store: w.store, Now: w.clock, Seal: true, SealAfter: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.t.Helper()
	if err := w.log.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(recs ...evidence.Record) {
	w.t.Helper()
	for i := range recs {
		w.n++
		if recs[i].ID == (evidence.ID{}) {
			recs[i].ID = evidence.ID{byte(w.n >> 8), byte(w.n), 0xee}
		}
		w.now = w.now.Add(time.Minute)
		if err := w.log.Append(w.t.Context(), recs[i:i+1]); err != nil {
			w.t.Fatal(err)
		}
	}
}

// seal moves the bodies of what was written so far.
func (w *world) seal() {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	if err := w.log.Seal(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// record appends a statement as the desk does: it is signed when this returns.
func (w *world) record(ctx context.Context, kind evidence.Kind, said any) (int64, evidence.ID, error) {
	b, err := json.Marshal(said)
	if err != nil {
		return 0, evidence.ID{}, err
	}
	w.open()
	defer w.close()
	w.n++
	id := evidence.ID{byte(w.n >> 8), byte(w.n), 0xdd}
	index, err := w.log.AppendOne(ctx, evidence.Record{ID: id, Kind: kind, Class: evidence.ClassAudit, Body: b})
	return index, id, err
}

func statement(kind evidence.Kind, class evidence.Class, said any) evidence.Record {
	b, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	return evidence.Record{Kind: kind, Class: class, Body: b}
}

func encoded(kind evidence.Kind, class evidence.Class, m body.Message) evidence.Record {
	b, err := body.Encode(m)
	if err != nil {
		panic(err)
	}
	return evidence.Record{Kind: kind, Class: class, Encoding: evidence.EncodingProtobuf, Body: b}
}

// hit is the record of a post of a user that a rule of a category hit.
func hit(event, user, category, rule, text string) evidence.Record {
	value := []byte(`{"text":"` + text + `"}`)
	sum := sha256.Sum256(value)
	r := encoded(evidence.KindHit, evidence.ClassContent, &body.Verdict{
		EventId: event, Action: body.Action_ACTION_REJECT, Reason: body.Reason_REASON_CONTENT, Rules: rules[:], Fold: "3", Account: user, TimeMs: 1795766400250,
		Hits:     []*body.Hit{{Rule: rule, Category: category, Severity: body.Severity_SEVERITY_HIGH, Field: "text", End: 4, EndUtf16: 4, Text: text, Form: "fold"}},
		Origin:   &body.Origin{Source: "example.net", Topic: "posts", Offset: 7, TimestampMs: proto.Int64(1795766400123), KeyIsAccount: true},
		Original: &body.Original{Sha256: sum[:], Bytes: uint32(len(value)), Value: value},
		Client:   &body.Endpoint{Address: []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, Port: 4711},
	})
	r.Subject = user
	for _, t := range [][2]string{{"event", event}, {"account", user}, {"category", category}, {"rule", rule}} {
		r.Terms = append(r.Terms, evidence.Term{Name: t[0], Value: t[1]})
	}
	return r
}

// fill puts drawn values into every field of a message, such as a body may hold.
func fill(m protoreflect.Message, r *rand.Rand) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(4) == 0 {
			continue
		}
		one := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.MessageKind:
				sub := m.NewField(f)
				if f.IsList() {
					sub = m.NewField(f).List().NewElement()
				}
				fill(sub.Message(), r)
				return sub
			case protoreflect.EnumKind:
				return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(f.Enum().Values().Len() + 1)))
			case protoreflect.StringKind:
				return protoreflect.ValueOfString([]string{"", "a", "<&> \u4f60\u597d", "caf\u00e9 \U0001F600", "2001:DB8::1"}[r.IntN(5)])
			case protoreflect.BytesKind:
				b := make([]byte, []int{0, 4, 8, 12, 16, 32}[r.IntN(6)])
				for i := range b {
					b[i] = byte(r.IntN(256) * r.IntN(2))
				}
				return protoreflect.ValueOfBytes(b)
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(r.IntN(2) == 0)
			case protoreflect.Uint32Kind:
				n := uint32(r.IntN(1440))
				if strings.HasSuffix(string(f.Name()), "_ns") {
					n = uint32(r.IntN(1_000_000_000)) * uint32(r.IntN(2))
				}
				return protoreflect.ValueOfUint32(n)
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(r.Uint64N(1 << 50))
			case protoreflect.Int32Kind:
				return protoreflect.ValueOfInt32(r.Int32N(100))
			case protoreflect.Sint32Kind:
				return protoreflect.ValueOfInt32((r.Int32N(105) - 48) * 900)
			case protoreflect.Sint64Kind:
				return protoreflect.ValueOfInt64(r.Int64N(1<<20) - 1<<19)
			case protoreflect.Int64Kind:
				n := r.Int64N(1<<32) - 1<<20
				if strings.HasSuffix(string(f.Name()), "_ms") {
					n = n*1000 + r.Int64N(1000)
				}
				return protoreflect.ValueOfInt64(n)
			}
			panic(f.Kind())
		}
		if !f.IsList() {
			m.Set(f, one())
			continue
		}
		list := m.Mutable(f).List()
		for range r.IntN(4) {
			list.Append(one())
		}
	}
}

// original makes a message's digest and length true of its value.
func original(o *body.Original) {
	if o != nil {
		sum := sha256.Sum256(o.Value)
		o.Sha256, o.Bytes = sum[:], uint32(len(o.Value))
	}
}

// full begins a log with something of everything.
func full(t *testing.T, encrypt bool) *world { return fullIn(t, encrypt, nil) }

func fullIn(t *testing.T, encrypt bool, store evidence.Store) *world {
	w := beginIn(t, encrypt, store)
	w.append(
		statement(evidence.KindStart, evidence.ClassPolicy, map[string]string{"rules": fmt.Sprintf("%x", rules), "bundle": "the text of the rules"}),
		statement(evidence.KindRuleSet, evidence.ClassPolicy, map[string]string{"rules": strings.Repeat("0f", 32), "bundle": "rules that judged nothing"}),
		hit("e1", "alice", "illegal.gambling", "g-1", "bets"),
		hit("e2", "bob", "illegal.drugs", "d-1", "pill"),
		statement(evidence.KindCoverage, evidence.ClassAudit, evidence.CoverageBody{Ranges: []evidence.CoverageRange{
			{Topic: "posts", Partition: 0, First: 0, Next: 10, Fetched: 9, Passed: 6, Flagged: 2, Skipped: 1, Rules: fmt.Sprintf("%x", rules)},
			{Topic: "a \"quoted\", name", Partition: 1, First: 5, Next: 5}}}),
		statement(evidence.KindGap, evidence.ClassAudit, evidence.GapBody{Topic: "posts", Partition: 0, First: 10, Next: 12}),
		hit("e3", "alice", "illegal.drugs", "d-1", "more"),
		encoded(evidence.KindDeadLetter, evidence.ClassContent, &body.DeadLetter{Kind: body.Kind_KIND_POST, Stage: body.Stage_STAGE_DECODE, Reason: "malformed"}),
		statement(evidence.KindHold, evidence.ClassAudit, map[string]string{"hold": "H-1"}),
		statement(evidence.KindAccess, evidence.ClassAudit, AccessBody{Who: "someone", Purpose: "other", Basis: "other"}),
	)
	return w
}

// source opens the log for reading.
func (w *world) source() *Source {
	w.t.Helper()
	s, err := Open(w.dir, "", w.ring)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

// order is what an authority asks for, to be put into a new place.
func (w *world) order(q Query) Order {
	w.t.Helper()
	o := w.orderOf(w.t, q)
	o.Now = w.clock
	return o
}

func (w *world) orderOf(t testing.TB, q Query) Order {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "log.1.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return Order{
		Request:   Request{Query: q, Who: "Chen, evidence desk", Purpose: "investigation", Basis: "cybersecurity law, article 28"},
		Recipient: "City Court \u4e00", Reference: "2026-117", Out: filepath.Join(t.TempDir(), "package"),
		VerifierKey: w.log.VerifierKey(), Signer: signer, SignerKey: w.log.VerifierKey(), Build: "v0 (test)",
	}
}

// export makes a package of a log that is closed.
func (w *world) export(o Order) Exported {
	w.t.Helper()
	x, err := w.source().Export(w.t.Context(), o, w.record)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// pemFile writes a public key as an organisation publishes it.
func pemFile(t *testing.T, vkey string) string {
	t.Helper()
	b, err := publicPEM(vkey)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// tool runs a program that a package's reader has.
func tool(t *testing.T, name string, args ...string) (out string, code int) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("not installed: " + name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}
