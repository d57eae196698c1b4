package evidence

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// published returns the log's checkpoint after some more records.
func published(t *testing.T, l *Log, first, n int) []byte {
	t.Helper()
	mustAppend(t, l, hits(first, n)...)
	if err := l.checkpoint(); err != nil {
		t.Fatal(err)
	}
	return l.Checkpoint()
}

// A log that others have seen further, or otherwise, than it is here does not
// open, and nothing of it is changed; one that agrees with what they saw goes on.
func TestOpenComparesWithWhatWasPublished(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	first := published(t, l, 0, 10)
	image := copyDir(t, dir)
	second := published(t, l, 10, 10)
	mustClose(t, l)

	forked := copyDir(t, image)
	o := open(t, forked)
	other := published(t, o, 100, 10)
	mustClose(t, o)
	// The same name and another key: the directory was emptied and begun again.
	stranger := published(t, open(t, t.TempDir()), 0, 3)

	tests := []struct {
		name string
		dir  string // "" for none
		seen [][]byte
		want string
	}{
		{"nothing was published", dir, nil, ""},
		{"what was published is what is here", dir, [][]byte{second}, ""},
		{"an older head was published, and the newest", dir, [][]byte{second, first}, ""},
		{"more is here than was published", dir, [][]byte{first}, ""},
		{"an old image was put back", image, [][]byte{second}, "ROLLED BACK: a head of 21 records was published, 11 are here"},
		{"the log is gone", "", [][]byte{second}, "ROLLED BACK: a head of 21 records of this log was published, and none of its records are here"},
		{"an old image was put back and went on", forked, [][]byte{second}, "FORK: the published head of 21 records has another root than the first 21 records here"},
		{"a clone went on", dir, [][]byte{second, other}, "FORK: the published head of 21 records has another root"},
		{"another key signs under this name", dir, [][]byte{stranger}, "FORK: a checkpoint was published under the name of this log, and it is not signed by the log's key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			here := filepath.Join(t.TempDir(), "evidence")
			if tt.dir != "" {
				here = copyDir(t, tt.dir)
			}
			l, err := Open(Options{Dir: here, Origin: testOrigin, Published: tt.seen, calls: noSync()})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				mustClose(t, l)
				return
			}
			if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "set evidence.generation") {
				t.Fatalf("open: %v\nwant %s, and the way out", err, tt.want)
			}
			if tt.dir == "" {
				if _, err := os.Stat(filepath.Join(here, testKey)); err == nil {
					t.Error("a key was made for a log that is refused")
				}
				return
			}
			for _, name := range []string{testSeg, testLogDir + "/" + historyFile, testLogDir + "/" + checkpointFile} {
				if string(read(t, here, name)) != string(read(t, tt.dir, name)) {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

// A new log says in its first record which one was before it and what became of
// that; once it is there it is not asked again.
func TestGenesisNamesTheLogBefore(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	first := published(t, l, 0, 10)
	image := copyDir(t, dir)
	second := published(t, l, 10, 10)
	mustClose(t, l)
	forked := copyDir(t, image)
	o := open(t, forked)
	published(t, o, 100, 10)
	mustClose(t, o)
	damaged := copyDir(t, dir)
	b := read(t, damaged, testSeg)
	b[40] ^= 1
	write(t, damaged, testSeg, b)

	for _, tt := range []struct {
		name string
		dir  string
		seen []byte
		want Fate
	}{
		{"it is here", dir, second, FateKept},
		{"it is here and was published late", dir, first, FateKept},
		{"it was rolled back", image, second, FateRolledBack},
		{"it went another way", forked, second, FateForked},
		{"it is damaged", damaged, second, FateDamaged},
		{"it is gone", "", second, FateMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here := filepath.Join(t.TempDir(), "evidence")
			if tt.dir != "" {
				here = copyDir(t, tt.dir)
			}
			p, err := Follow(here, tt.seen)
			if err != nil {
				t.Fatal(err)
			}
			want := Previous{testOrigin, string(tt.seen), tt.want}
			if *p != want {
				t.Fatalf("the log before: %+v, want %+v", *p, want)
			}
			next := "example.net/evidence/test/2"
			asked := 0
			previous := func() (*Previous, error) {
				asked++
				return Follow(here, tt.seen)
			}
			for range 2 {
				l, err := Open(Options{Dir: here, Origin: next, Previous: previous, calls: noSync()})
				if err != nil {
					t.Fatal(err)
				}
				mustClose(t, l)
			}
			if asked != 1 {
				t.Errorf("the log before was looked for %d times, want once: it is read whole", asked)
			}
			n := 0
			err = walkGeneration(here, "2", nil, func(e Entry) error {
				var g genesis
				if err := json.Unmarshal(e.Body, &g); err != nil {
					return err
				}
				if n++; g.Previous == nil || *g.Previous != want {
					t.Errorf("the first record says %+v, want %+v", g.Previous, want)
				}
				return nil
			})
			if err != nil || n != 1 {
				t.Fatalf("%d records, %v", n, err)
			}
		})
	}
	if _, err := Follow(dir, []byte("no note")); err == nil {
		t.Error("what is no checkpoint was followed")
	}
}

// A log knows the heads it has signed from those that another one signed with its key.
func TestHasSigned(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var heads [][]byte
	for i := range 5 {
		heads = append(heads, published(t, l, 10*i, 10))
	}
	image := copyDir(t, dir)
	last := published(t, l, 50, 10)
	clone := published(t, open(t, image), 90, 10)
	for _, msg := range append(heads, last) {
		if !signed(t, l, msg) {
			t.Errorf("the log does not know its own head\n%s", msg)
		}
	}
	if signed(t, l, clone) {
		t.Error("the head of a clone passes for the log's own")
	}
	h, err := ParseCheckpoint(last, l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	h.Size++
	if ok, err := l.HasSigned(h); ok || err != nil {
		t.Errorf("a head of more records than there are: %v, %v", ok, err)
	}
}

func signed(t *testing.T, l *Log, msg []byte) bool {
	t.Helper()
	h, err := ParseCheckpoint(msg, l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	ok, err := l.HasSigned(h)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// Break ends a log for good, and says why.
func TestBreak(t *testing.T) {
	l := open(t, t.TempDir())
	why := errors.New("another instance has this name")
	if err := l.Break(why); !errors.Is(err, ErrBroken) || !errors.Is(err, why) {
		t.Errorf("break: %v", err)
	}
	if err := l.Append(t.Context(), hits(0, 1)); !errors.Is(err, why) {
		t.Errorf("append: %v", err)
	}
	if err := l.Run(t.Context()); !errors.Is(err, why) {
		t.Errorf("run: %v", err)
	}
}

// What would be refused of a directory without records is refused before anything is made in it.
func TestCheckBegin(t *testing.T) {
	l := open(t, t.TempDir())
	seen := published(t, l, 0, 3)
	other := open(t, t.TempDir())
	mustClose(t, other)
	for _, tt := range []struct {
		name  string
		dir   func() string
		seen  [][]byte
		want  string
		opens bool
	}{
		{"nothing is there, nothing was published", func() string { return filepath.Join(t.TempDir(), "evidence") }, nil, "", true},
		{"a log that is there", func() string { mustClose(t, l); return copyDir(t, l.o.Dir) }, [][]byte{seen}, "", true},
		{"it was published, and is gone", func() string { return filepath.Join(t.TempDir(), "evidence") }, [][]byte{seen}, "ROLLED BACK: a head of 4 records of this log was published, and none of its records are here", false},
		{"only its verifier key is left", func() string {
			dir := t.TempDir()
			write(t, dir, verifierFile, read(t, l.o.Dir, verifierFile))
			return dir
		}, nil, "ROLLED BACK: log.vkey names this log, but none of its records are left", false},
		{"its key is gone", func() string {
			dir := copyDir(t, l.o.Dir)
			if err := os.Remove(filepath.Join(dir, "log.1.key")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, nil, "the log exists and was signed with it: put it back", false},
		{"the key is none", func() string {
			dir := t.TempDir()
			write(t, dir, "log.1.key", []byte("x"))
			return dir
		}, nil, "not a signing key", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.dir()
			before := listing(t, dir)
			err := CheckBegin(Options{Dir: dir, Origin: testOrigin, Published: tt.seen})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v", err)
			}
			if after := listing(t, dir); before != after {
				t.Errorf("it has made files:\n%s\n%s", before, after)
			}
			// Open says the same.
			opened, open := Open(Options{Dir: dir, Origin: testOrigin, Published: tt.seen, calls: noSync()})
			if open == nil {
				mustClose(t, opened)
			}
			if tt.opens != (open == nil) || err != nil && open.Error() != err.Error() {
				t.Errorf("Open: %v\nCheckBegin: %v", open, err)
			}
		})
	}
}

// listing names all that is in a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
