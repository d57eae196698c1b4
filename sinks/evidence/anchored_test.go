package evidence

import (
	"encoding/json"
	"strings"
	"testing"
)

// anchorIn puts heads on record in another log, as package anchor does.
func anchorIn(t *testing.T, dir string, kind Kind, body any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: dir, Origin: "example.net/evidence/peer/1", calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, Record{ID: newID(int(l.Size())), Kind: kind, Class: ClassAudit, Body: b})
	mustClose(t, l)
}

// What another instance has put on record of a log convicts one that was put back
// to an older state or went another way, though it is whole in itself.
func TestVerifyAgainstAnchorsOfPeers(t *testing.T) {
	dir := memDir(t)
	l := open(t, dir)
	first := published(t, l, 0, 10)
	image := copyDir(t, dir)
	second := published(t, l, 10, 10)
	mustClose(t, l)
	forked := copyDir(t, image)
	o := open(t, forked)
	other := published(t, o, 100, 30)
	mustClose(t, o)
	stranger := open(t, memDir(t)) // the same name, another key
	strange := published(t, stranger, 0, 40)

	peer := memDir(t)
	head := func(msg []byte) anchorHead { return anchorHead{testOrigin, string(msg)} }
	anchorIn(t, peer, KindAnchor, anchorBody{Heads: []anchorHead{head(first)}})
	anchorIn(t, peer, KindAnchor, anchorBody{Heads: []anchorHead{{"example.net/evidence/third/1", string(first)}, head(second), head(strange)}})
	sawFork := copyDir(t, peer)
	anchorIn(t, sawFork, KindIncident, anchorBody{Known: head(second), Other: head(other)})

	for _, tt := range []struct {
		name, dir, peer string
		want            map[Verdict]bool
	}{
		{"whole", dir, peer, nil},
		{"put back", image, peer, map[Verdict]bool{Missing: true}},
		{"went another way", forked, peer, map[Verdict]bool{Fork: true}},
		{"a peer saw both ways", dir, sawFork, map[Verdict]bool{Missing: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Verify(tt.dir, VerifyOptions{VerifierKey: l.VerifierKey(), Peers: []string{tt.peer}})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Verdict.Alarm() && !tt.want[f.Verdict] {
					t.Error(f)
				}
				delete(tt.want, f.Verdict)
			}
			if len(tt.want) > 0 {
				t.Errorf("not found: %v, but %v", tt.want, r.Findings)
			}
		})
	}

	heads, err := AnchoredHeads(sawFork, l.VerifierKey())
	if err != nil || len(heads) != 3 || string(heads[0]) != string(first) || string(heads[2]) != string(other) {
		t.Errorf("%d anchored heads, %v; want three, by size", len(heads), err)
	}
	if _, err := AnchoredHeads(peer, "no key"); err == nil {
		t.Error("a key that is none was taken")
	}
	if _, err := AnchoredHeads(t.TempDir(), l.VerifierKey()); err == nil {
		t.Error("a directory without a log was taken for a peer")
	}
}

// Heads that were kept elsewhere find a directory that was put back, went another way, was begun
// anew or has lost a log, whichever of its logs each is of.
func TestVerifyAllAgainstKeptHeads(t *testing.T) {
	dir := memDir(t)
	l := open(t, dir)
	first := published(t, l, 0, 10)
	image := copyDir(t, dir)
	second := published(t, l, 10, 10)
	mustClose(t, l)
	forked := copyDir(t, image)
	o := open(t, forked)
	published(t, o, 100, 12)
	mustClose(t, o)
	anew := memDir(t)
	stranger := open(t, anew)
	published(t, stranger, 0, 3)
	mustClose(t, stranger)
	next, err := Open(Options{Dir: memDir(t), Origin: "example.net/evidence/test/other", calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	gone := published(t, next, 0, 4)
	mustClose(t, next)
	for _, tt := range []struct {
		name, dir string
		heads     [][]byte
		want      Verdict
		words     string
	}{
		{"as it was", dir, [][]byte{first, second}, "", ""},
		{"put back", image, [][]byte{first, second}, Missing, "21 records are signed, 11 are here"},
		{"went another way", forked, [][]byte{second}, Fork, "was signed with another root than the records have"},
		{"begun anew", anew, [][]byte{first}, Altered, "a head that is kept elsewhere: it is not signed by the log's key"},
		{"a log gone", dir, [][]byte{first, gone}, Missing, "a head of 5 records of example.net/evidence/test/other is kept elsewhere, and that log is not here"},
	} {
		r, err := VerifyAll(tt.dir, nil, VerifyOptions{Heads: tt.heads})
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if tt.want == "" && !r.OK() || tt.want != "" && (r.OK() || r.FirstBad.Verdict != tt.want || !strings.Contains(r.FirstBad.Detail, tt.words)) {
			t.Errorf("%s: %d alarms, %+v", tt.name, r.Alarms, r.FirstBad)
		}
	}
	if _, err := VerifyAll(dir, nil, VerifyOptions{Heads: [][]byte{[]byte("x")}}); err == nil || !strings.Contains(err.Error(), "checkpoint 1 of those given: it is not a signed note") {
		t.Error(err)
	}
}
