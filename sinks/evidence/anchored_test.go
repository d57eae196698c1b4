package evidence

import (
	"encoding/json"
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
