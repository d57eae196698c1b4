package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// about makes a hit record about a user.
func about(n int, user, text string) Record {
	return Record{ID: newID(n), Kind: KindHit, Class: ClassContent, Subject: user,
		Body:  fmt.Appendf(nil, `{"event_id":"e%d","user_id":%q,"text":%q}`, n, user, text),
		Terms: []Term{{"event", fmt.Sprintf("e%d", n)}, {"account", user}, {"category", "gambling"}}}
}

// openWith opens a log that encrypts.
func openWith(t testing.TB, dir string, ring *keys.Ring) *Log {
	t.Helper()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// walked reads all entries; their bodies are copies.
func walked(t testing.TB, dir string, ring *keys.Ring) []Entry {
	t.Helper()
	var all []Entry
	if err := Walk(dir, ring, func(e Entry) error {
		e.Body = bytes.Clone(e.Body)
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// verifyWith verifies with keys.
func verifyWith(t testing.TB, dir string, ring *keys.Ring) *Report {
	t.Helper()
	r, err := Verify(dir, VerifyOptions{Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// alarms returns the findings that are.
func alarms(r *Report) (list []Finding) {
	for _, f := range r.Findings {
		if f.Verdict.Alarm() {
			list = append(list, f)
		}
	}
	return list
}

// Bodies about people can be read with the keys and in no other way; what the log
// says of itself can be read without.
func TestEncryption(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	recs := []Record{
		about(1, "user-4711", "win big at the tables"),
		about(2, "user-0815", "win bigger at the tables"),
		{ID: newID(3), Kind: KindPush, Class: ClassPush, Subject: "user-4711", Encoding: EncodingProtobuf, Body: []byte("a push to user-4711")},
		{ID: newID(4), Kind: KindDeadLetter, Class: ClassContent, Body: []byte("nobody knows of whom")},
		{ID: newID(5), Kind: KindIncident, Class: ClassAudit, Body: []byte(`{"what":"outage-begin"}`)},
		{ID: newID(6), Kind: KindRuleSet, Class: ClassPolicy, Body: []byte(`{"rules":"00"}`)},
		about(7, "user-4711", "once more"),
		{ID: newID(8), Kind: KindHit, Class: ClassContent}, // an empty body
	}
	mustAppend(t, l, recs...)
	mustClose(t, l)

	seg := read(t, dir, testSeg)
	for _, word := range []string{"user-4711", "user-0815", "win big", "a push to", "nobody knows", "gambling", "event_id"} {
		if bytes.Contains(seg, []byte(word)) {
			t.Errorf("%q is on the disk in clear", word)
		}
	}
	for _, word := range []string{"outage-begin", `{"rules":"00"}`, testOrigin} {
		if !bytes.Contains(seg, []byte(word)) {
			t.Errorf("%q is not on the disk in clear", word)
		}
	}

	with, without := walked(t, dir, ring)[1:], walked(t, dir, nil)[1:]
	for i, r := range recs {
		encrypted := r.Class == ClassContent || r.Class == ClassPush
		if e := with[i]; !bytes.Equal(e.Body, r.Body) || e.Encrypted != encrypted || e.Closed != nil || e.Encoding != r.Encoding {
			t.Errorf("record %d with keys: %+v", i, e)
		}
		if e := without[i]; encrypted && (e.Body != nil || !errors.Is(e.Closed, ErrNoKeys)) || !encrypted && !bytes.Equal(e.Body, r.Body) {
			t.Errorf("record %d without keys: %+v", i, e)
		}
		var want []uint64
		for _, term := range r.Terms {
			want = append(want, ring.Term(r.Class.String(), term.Name, term.Value))
		}
		if !slices.Equal(without[i].Terms, want) {
			t.Errorf("record %d has the terms %x, want %x", i, without[i].Terms, want)
		}
	}
	// One key for each person and class: none of them opens anything of another.
	h := func(i int) keys.Handle { return with[i].Handle }
	if h(0) != h(6) || h(0) == h(1) || h(0) == h(2) || h(0) == h(3) || h(3) != h(7) || h(4) != (keys.Handle{}) {
		t.Error("records do not share keys as people and classes do")
	}

	if r := verifyWith(t, dir, ring); !r.OK() || r.Closed != 0 || len(r.Findings) > 0 {
		t.Errorf("with keys: %+v", r)
	}
	if r := verify(t, dir); !r.OK() || r.Closed != 6 || len(r.Findings) > 0 {
		t.Errorf("without keys: %+v", r)
	}
}

// The same records come to the same commitments whether they are encrypted or not.
func TestEncryptionKeepsCommitments(t *testing.T) {
	recs := []Record{about(1, "u", "text"), about(2, "v", "other text")}
	for i, it := range prepared(t, newRing(t, t.TempDir()), recs...) {
		if !it.leaf.encrypted() || it.leaf.bodyBytes() != len(recs[i].Body) || len(it.stored) != 16+1+3*8+12+32+len(recs[i].Body)+16 {
			t.Errorf("record %d: leaf %x, %d bytes stored", i, it.leaf, len(it.stored))
		}
	}
	ring := newRing(t, t.TempDir())
	for i, it := range prepared(t, ring, recs...) {
		plain, err := it.leaf.open(it.stored, ring)
		if err != nil || !it.leaf.commitsTo(plain) || !bytes.Equal(plain[saltSize:], recs[i].Body) {
			t.Errorf("record %d: %q, %v", i, plain, err)
		}
	}
}

// The layout of an envelope, and what is authenticated beside it, are the format.
func TestEnvelopeBytes(t *testing.T) {
	ring := newRing(t, t.TempDir())
	r := about(1, "u", "text")
	it := prepared(t, ring, r)[0]
	key := must(ring.Keys("content", []string{"u"}))(t)[0]
	head := slices.Concat(key.Handle[:], []byte{3})
	for _, term := range r.Terms {
		head = binary.BigEndian.AppendUint64(head, ring.Term("content", term.Name, term.Value))
	}
	if !bytes.HasPrefix(it.stored, head) {
		t.Fatalf("got %x, want it to begin with %x", it.stored, head)
	}
	nonce, text := it.stored[len(head):len(head)+12], it.stored[len(head)+12:]
	// version, kind, class, encoding and the flag of encryption, id
	ad := append([]byte{1, 16, 2, 0x10}, r.ID[:]...)
	plain, err := key.AEAD.Open(nil, nonce, text, ad)
	if err != nil || len(plain) != 32+len(r.Body) || !bytes.Equal(plain[32:], r.Body) {
		t.Errorf("%q, %v", plain, err)
	}
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Terms beyond what there is room for are left out; the record is not refused.
func TestTooManyTerms(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	r := about(1, "u", "breaks every rule")
	r.Body = bytes.Repeat([]byte("x"), MaxBodyBytes) // beside the longest body
	for i := range 1000 {
		r.Terms = append(r.Terms, Term{"rule", fmt.Sprint(i)})
	}
	mustAppend(t, l, r)
	mustClose(t, l)
	e := walked(t, dir, ring)[1]
	if len(e.Terms) != 255 || e.Terms[0] != ring.Term("content", "event", "e1") || !bytes.Equal(e.Body, r.Body) {
		t.Errorf("%d terms, %d bytes", len(e.Terms), len(e.Body))
	}
	if r := verifyWith(t, dir, ring); !r.OK() {
		t.Error(r.Findings)
	}
}

// Whatever is done to an encrypted body, with every checksum made right: with the
// keys the verifier names the record, Walk ends at it, and a start refuses it while
// it is not signed.
func TestEncryptedTampering(t *testing.T) {
	base := t.TempDir()
	ring := newRing(t, base)
	l := openWith(t, base, ring)
	mustAppend(t, l, about(0, "ann", "first words"), about(1, "ann", "other words"), about(2, "bob", "words of bob"), about(3, "ann", "last words!!"))
	tail := copyDir(t, base) // nothing but the genesis record is signed in it
	mustClose(t, l)
	seg := read(t, base, testSeg)
	const k = 2 // of ann, as is the record before
	// A body that who has the keys encrypts for another text.
	forged := func(r lay) {
		l := (*leaf)(r.leaf)
		p, _ := splitStored(l, r.stored)
		aead := must(ring.Open("content", keys.Handle(p.handle)))(t)
		plain := bytes.Repeat([]byte("!"), len(p.text())-tagSize)
		copy(p.text(), aead.Seal(nil, p.rest[:nonceSize], plain, l[:leafTime]))
	}
	const text = handleSize + 1 + 3*termSize + nonceSize
	tests := []struct {
		name  string
		do    func(r []lay)
		words string
	}{
		{"a bit of the text", func(r []lay) { r[k].stored[text+40] ^= 4 }, "cannot be opened"},
		{"a bit of the salt", func(r []lay) { r[k].stored[text] ^= 1 }, "cannot be opened"},
		{"a bit of the tag", func(r []lay) { r[k].stored[len(r[k].stored)-1] ^= 1 }, "cannot be opened"},
		{"a bit of the nonce", func(r []lay) { r[k].stored[text-1] ^= 1 }, "cannot be opened"},
		{"the number of terms", func(r []lay) { r[k].stored[handleSize]-- }, "cannot be opened"},
		{"another's key", func(r []lay) { copy(r[k].stored[:handleSize], r[3].stored) }, "cannot be opened"},
		{"another's body", func(r []lay) { copy(r[k].stored, r[3].stored) }, "cannot be opened"},
		{"the same person's body", func(r []lay) { copy(r[k].stored, r[1].stored) }, "cannot be opened"},
		{"bodies swapped", func(r []lay) { swap(r[k].stored, r[4].stored) }, "cannot be opened"},
		{"another text, by who has the keys", func(r []lay) { forged(r[k]) }, "not the one its leaf commits to"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, base)
			changed := bytes.Clone(seg)
			r := records(changed)
			tt.do(r)
			repair(changed)
			if bytes.Equal(changed, seg) {
				t.Fatal("nothing was changed")
			}
			write(t, dir, testSeg, changed)
			report := verifyWith(t, dir, ring)
			i := slices.IndexFunc(report.Findings, func(f Finding) bool {
				return f.Verdict == Altered && f.Index == k && f.File == testSeg && f.Offset == int64(r[k].entry) && !f.Time.IsZero() && strings.Contains(f.Detail, tt.words)
			})
			if i < 0 {
				t.Errorf("not named: %v", report.Findings)
			}
			for _, f := range alarms(report) {
				if f.Index != k && (tt.name != "bodies swapped" || f.Index != 4) {
					t.Errorf("named as well: %s", f)
				}
			}
			if tt.words == "cannot be opened" {
				err := Walk(dir, ring, func(Entry) error { return nil })
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("record %d, %s offset %d: ", k, testSeg, r[k].entry)) {
					t.Errorf("walk: %v", err)
				}
			}

			unsigned := copyDir(t, tail)
			write(t, unsigned, testSeg, changed)
			_, err := Open(Options{Dir: unsigned, Origin: testOrigin, Keys: ring, calls: noSync()})
			if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), fmt.Sprintf("body of record %d at %s offset %d", k, testSeg, r[k].entry)) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

// A start takes unsigned records as they are when it has no keys to them: nothing
// that was acknowledged may be lost to a change of the configuration.
func TestRecoverWithoutKeys(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	mustAppend(t, l, about(0, "ann", "words"))
	crashed := copyDir(t, dir)
	mustClose(t, l)
	l = openWith(t, crashed, nil)
	mustAppend(t, l, about(1, "ann", "words in clear"))
	mustClose(t, l)
	all := walked(t, crashed, ring)
	if len(all) != 3 || !all[1].Encrypted || all[2].Encrypted || !bytes.Contains(all[1].Body, []byte("words")) {
		t.Errorf("%+v", all)
	}
	if r := verifyWith(t, crashed, ring); !r.OK() || r.Signed != 3 {
		t.Errorf("%+v", r)
	}
}

// One id twice is compared by the plain bodies, whatever they are encrypted with.
// Where a body cannot be opened nobody is accused.
func TestEncryptedReplay(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	plain := openWith(t, dir, nil)
	mustAppend(t, plain, about(0, "ann", "same"), about(1, "ann", "this"), about(2, "ann", "short"))
	mustClose(t, plain)
	l := openWith(t, dir, ring)
	moved := about(5, "ann", "same")
	moved.ID = newID(3)
	mustAppend(t, l,
		about(0, "ann", "same"), about(0, "ann", "same"), // 4, 5: replayed
		about(1, "ann", "that"), // 6: conflict
		about(2, "ann", "long"), // 7: conflict, which the length shows
		about(3, "ann", "same"), // 8
		moved,                   // 9: conflict
		Record{ID: newID(7), Kind: KindPush, Class: ClassPush, Body: []byte("allow")},
		Record{ID: newID(7), Kind: KindPush, Class: ClassPush, Body: []byte("defer")}, // 11: decided again
	)
	mustClose(t, l)

	type found struct {
		Verdict Verdict
		Index   int64
	}
	list := func(r *Report) (all []found) {
		for _, f := range r.Findings {
			all = append(all, found{f.Verdict, f.Index})
		}
		return all
	}
	with := verifyWith(t, dir, ring)
	if diff := cmp.Diff([]found{{Replayed, 4}, {Replayed, 5}, {Conflict, 6}, {Conflict, 7}, {Conflict, 9}, {Redecided, 11}}, list(with)); diff != "" {
		t.Error("with keys", diff)
	}
	without := verify(t, dir)
	if diff := cmp.Diff([]found{{Replayed, 4}, {Replayed, 5}, {Replayed, 6}, {Conflict, 7}, {Replayed, 9}, {Replayed, 11}}, list(without)); diff != "" {
		t.Error("without keys", diff)
	}
	if without.Replayed != with.Replayed || without.Closed != 8 {
		t.Errorf("%+v", without)
	}
	for _, f := range without.Findings {
		if f.Verdict == Replayed && !strings.Contains(f.Detail, "not compared") {
			t.Errorf("claims more than it can know: %s", f)
		}
	}
}

// If keys cannot be made durable the log is dead, as if it could not be written
// itself: nothing is written any more, and nothing in clear.
func TestNoKeysNoRecord(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	// A file stands where the directory of the class should.
	write(t, dir, "keys/content", nil)
	size := len(read(t, dir, testSeg))
	for range 2 {
		err := l.Append(context.Background(), []Record{about(0, "ann", "words")})
		if !errors.Is(err, ErrBroken) || !errors.Is(err, keys.ErrBroken) {
			t.Fatalf("got %v", err)
		}
	}
	if len(read(t, dir, testSeg)) != size || l.Size() != 1 {
		t.Error("something was written")
	}
	if err := l.Close(); !errors.Is(err, ErrBroken) {
		t.Errorf("close: %v", err)
	}
}

// A key that vanished from its file is an alarm for every record that names it.
func TestLostKeys(t *testing.T) {
	dir := t.TempDir()
	l := openWith(t, dir, newRing(t, dir))
	mustAppend(t, l, about(0, "ann", "first"), about(1, "bob", "second"), about(2, "bob", "third"))
	mustClose(t, l)
	gone := copyDir(t, dir)
	files, err := filepath.Glob(filepath.Join(gone, "keys/content/*.keys"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	fi, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0], fi.Size()/2); err != nil { // of the two keys one is left
		t.Fatal(err)
	}
	rep := verifyWith(t, gone, openRing(t, gone, keys.Options{ReadOnly: true}))
	if got := alarms(rep); len(got) != 2 || got[0].Verdict != Missing || got[0].Index != 2 || got[1].Index != 3 {
		t.Errorf("%v", got)
	}
	if rep := verify(t, gone); !rep.OK() || rep.Closed != 3 {
		t.Errorf("without keys: %+v", rep)
	}
}

// A person's keys are destroyed: their records stay in their places and say why they
// are closed; what is written of them later is under another key.
func TestShreddedKeys(t *testing.T) {
	dir := t.TempDir()
	ring := newRing(t, dir)
	l := openWith(t, dir, ring)
	mustAppend(t, l, about(0, "ann", "first"), about(1, "bob", "second"), about(2, "ann", "third"))
	if _, err := ring.Shred("ann", "content"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, about(3, "ann", "written after it was forgotten"), about(2, "ann", "third"))
	mustClose(t, l)
	for _, r := range []*keys.Ring{ring, openRing(t, dir, keys.Options{ReadOnly: true})} {
		var got []string
		for _, e := range walked(t, dir, r)[1:] {
			switch {
			case e.Body != nil && e.Closed == nil:
				got = append(got, "open")
			case e.Body == nil && errors.Is(e.Closed, keys.ErrErased):
				got = append(got, "erased")
			default:
				got = append(got, fmt.Sprintf("%q, %v", e.Body, e.Closed))
			}
		}
		if diff := cmp.Diff([]string{"erased", "open", "erased", "open", "open"}, got); diff != "" {
			t.Error(diff)
		}
		// No record says that they were: the verifier asks for one. That the last
		// record repeats one that cannot be read any more is no conflict.
		rep := verifyWith(t, dir, r)
		got = nil
		for _, f := range rep.Findings {
			got = append(got, fmt.Sprint(f.Verdict, f.Index))
		}
		if diff := cmp.Diff([]string{"MISSING1", "MISSING3", "replayed5"}, got); diff != "" || !strings.Contains(rep.Findings[2].Detail, "not compared") {
			t.Error(diff, rep.Findings)
		}
	}
}

// newRing begins the keys of an evidence directory.
func newRing(t testing.TB, dir string) *keys.Ring {
	t.Helper()
	return openRing(t, dir, keys.Options{})
}

func openRing(t testing.TB, dir string, o keys.Options) *keys.Ring {
	t.Helper()
	ring, err := OpenKeys(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	})
	return ring
}
