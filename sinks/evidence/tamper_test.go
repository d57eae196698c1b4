package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// offsets returns where the frames of a segment begin, and its end.
func offsets(seg []byte) []int {
	var out []int
	o := 0
	for ; o < len(seg); o += frameHeader + int(binary.BigEndian.Uint32(seg[o+4:])) {
		out = append(out, o)
	}
	return append(out, o)
}

// repair makes every checksum right, as an attacker would.
func repair(seg []byte) []byte {
	for _, f := range framesOf(seg) {
		binary.BigEndian.PutUint32(f[8:], frameCRC(f, f[frameHeader:]))
	}
	return seg
}

// framesOf cuts a segment into its frames, which share its bytes.
func framesOf(seg []byte) [][]byte {
	var out [][]byte
	offs := offsets(seg)
	for i, o := range offs[:len(offs)-1] {
		out = append(out, seg[o:offs[i+1]:offs[i+1]])
	}
	return out
}

// renumber joins frames to a segment whose numbers and checksums are right.
func renumber(frames [][]byte) []byte {
	seg := bytes.Join(frames, nil)
	n := uint64(0)
	for _, f := range framesOf(seg) {
		binary.BigEndian.PutUint64(f[12:], n)
		n += uint64(binary.BigEndian.Uint32(f[20:]))
	}
	return repair(seg)
}

// lay is a record's place in a segment: its leaf and stored body.
type lay struct {
	frame        int
	entry        int // offset of the entry
	leaf, stored []byte
}

func records(seg []byte) []lay {
	var out []lay
	for i, b := range framesOf(seg) {
		f := frame{offset: int64(offsets(seg)[i]), entries: b[frameHeader:], count: int(binary.BigEndian.Uint32(b[20:]))}
		f.each(func(e entry) {
			at := int(e.offset)
			out = append(out, lay{i, at, seg[at+4 : at+entryHeader], seg[at+entryHeader : at+entryHeader+len(e.stored)]})
		})
	}
	return out
}

func swap(a, b []byte) {
	c := bytes.Clone(a)
	copy(a, b)
	copy(b, c)
}

// Every way to tamper with a log is found and named: what it is, and where. The
// attacker has no key but repairs every number and checksum.
func TestTampering(t *testing.T) {
	base := t.TempDir()
	vkey := fill(t, base, 40) // heads after 1, 31, 61, 91 and 121 records
	seg := read(t, base, testSeg)
	all := records(seg)
	frames := framesOf(seg)
	const k = 50
	at := all[k]
	other := t.TempDir()
	fill(t, other, 40)

	// A log of the same key, rolled back to its second head and continued
	// otherwise: what an operator with the key can do.
	rewritten := copyDir(t, base)
	{
		h := read(t, base, "log/1/checkpoints.log")
		one, _ := cutCheckpoint(h)
		two, _ := cutCheckpoint(h[one:])
		write(t, rewritten, "log/1/checkpoints.log", h[:one+two])
		write(t, rewritten, "log/1/checkpoint", h[one:one+two-1])
		i := slices.IndexFunc(all, func(x lay) bool { return x.frame == all[31].frame })
		write(t, rewritten, testSeg, seg[:offsets(seg)[all[i].frame]])
		l := open(t, rewritten)
		mustAppend(t, l, hits(9000, 200)...)
		mustClose(t, l)
		verifyOK(t, rewritten)
	}

	type edit func(dir string)
	segment := func(fn func(seg []byte) []byte) edit {
		return func(dir string) { write(t, dir, testSeg, fn(bytes.Clone(seg))) }
	}
	in := func(fn func(r []lay)) edit { // in place, checksums repaired
		return segment(func(seg []byte) []byte {
			fn(records(seg))
			return repair(seg)
		})
	}
	file := func(name string, fn func(b []byte) []byte) edit {
		return func(dir string) { write(t, dir, "log/1/"+name, fn(read(t, dir, "log/1/"+name))) }
	}
	remove := func(names ...string) edit {
		return func(dir string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	heads := func(h []byte) (out [][]byte) {
		for len(h) > 0 {
			n, _ := cutCheckpoint(h)
			out = append(out, h[:n])
			h = h[n:]
		}
		return out
	}

	tests := []struct {
		name string
		do   edit
		// One of the findings must be this verdict and cover this record, and have
		// this in its words.
		verdict Verdict
		index   int64
		words   string
		starts  bool // the daemon starts all the same, because only bodies differ
		heads   [][]byte
	}{
		{name: "bit of a body", do: segment(func(s []byte) []byte { records(s)[k].stored[40] ^= 4; return s }),
			verdict: Altered, index: k, words: "record 50: its body is not the one its leaf commits to"},
		{name: "bit of a body, checksum repaired", do: in(func(r []lay) { r[k].stored[40] ^= 4 }),
			verdict: Altered, index: k, words: "record 50: its body is not", starts: true},
		{name: "bit of a salt", do: in(func(r []lay) { r[k].stored[0] ^= 1 }),
			verdict: Altered, index: k, words: "record 50: its body is not", starts: true},
		{name: "bit of a checksum", do: segment(func(s []byte) []byte { s[offsets(s)[at.frame]+8] ^= 1; return s }),
			verdict: Altered, index: k, words: "checksum does not match"},
		{name: "kind changed", do: in(func(r []lay) { r[k].leaf[1] = byte(KindPush) }),
			verdict: Altered, index: k, words: "the head of 61 records (log/1/checkpoints.log offset "},
		{name: "version changed", do: in(func(r []lay) { r[k].leaf[0] = 2 }),
			verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "class changed", do: in(func(r []lay) { r[k].leaf[2]++ }),
			verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "id changed", do: in(func(r []lay) { r[k].leaf[leafID] ^= 1 }),
			verdict: Altered, index: k, words: "record 50: its body is not"},
		{name: "back-dated", do: in(func(r []lay) { (*leaf)(r[k].leaf).setNanos((*leaf)(r[k].leaf).nanos() - 1e9) }),
			verdict: Altered, index: k, words: "record 50: it was recorded before the record before it"},
		{name: "back-dated with all before it", do: in(func(r []lay) {
			for i := range k + 1 {
				(*leaf)(r[i].leaf).setNanos((*leaf)(r[i].leaf).nanos() - 1e9)
			}
		}), verdict: Altered, index: 0, words: "not the records that were signed"},
		{name: "post-dated", do: in(func(r []lay) {
			for i := k; i < len(r); i++ {
				(*leaf)(r[i].leaf).setNanos((*leaf)(r[i].leaf).nanos() + 1e9)
			}
		}), verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "cut between frames", do: segment(func(s []byte) []byte { return s[:offsets(s)[at.frame]] }),
			verdict: Missing, index: k, words: "121 records are signed, "},
		{name: "cut within a frame", do: segment(func(s []byte) []byte { return s[:offsets(s)[at.frame]+50] }),
			verdict: Missing, index: k, words: "121 records are signed, "},
		{name: "emptied", do: segment(func([]byte) []byte { return nil }),
			verdict: Missing, index: 0, words: "121 records are signed, 0 are here"},
		{name: "segment gone", do: remove(testSeg),
			verdict: Missing, index: k, words: "121 records are signed, 0 are here"},
		{name: "segment renamed", do: func(dir string) {
			write(t, dir, "log/1/seg/00000000000000000007.seg", seg)
			remove(testSeg)(dir)
		}, verdict: Altered, index: 0, words: "the file is named for record 7"},
		{name: "frame cut out", do: segment(func([]byte) []byte { return bytes.Join(slices.Delete(slices.Clone(frames), at.frame, at.frame+1), nil) }),
			verdict: Missing, index: k, words: "the next frame begins with record "},
		{name: "frame cut out, numbered anew", do: segment(func([]byte) []byte { return renumber(slices.Delete(slices.Clone(frames), at.frame, at.frame+1)) }),
			verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "first frame cut out, numbered anew", do: segment(func([]byte) []byte { return renumber(frames[1:]) }),
			verdict: Altered, index: 0, words: "record 0 is of kind hit, not genesis"},
		{name: "last frame cut out", do: segment(func([]byte) []byte { return renumber(frames[:len(frames)-1]) }),
			verdict: Missing, index: 120, words: "121 records are signed, 116 are here"},
		{name: "frame blanked", do: segment(func(s []byte) []byte { clear(framesOf(s)[at.frame]); return s }),
			verdict: Altered, index: at.first(seg), words: "no frame begins here"},
		{name: "frames swapped", do: segment(func([]byte) []byte {
			f := slices.Clone(frames)
			f[at.frame], f[at.frame+1] = f[at.frame+1], f[at.frame]
			return bytes.Join(f, nil)
		}), verdict: Missing, index: at.first(seg), words: "the next frame begins with record "},
		{name: "frames swapped, numbered anew", do: segment(func([]byte) []byte {
			f := slices.Clone(frames)
			f[at.frame], f[at.frame+1] = f[at.frame+1], f[at.frame]
			return renumber(f)
		}), verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "records swapped", do: in(func(r []lay) { swap(r[k].leaf, r[k+1].leaf); swap(r[k].stored, r[k+1].stored) }),
			verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "leaves swapped", do: in(func(r []lay) { swap(r[k].leaf, r[k+1].leaf) }),
			verdict: Altered, index: k, words: "record 50: its body is not"},
		{name: "bodies swapped", do: in(func(r []lay) { swap(r[k].stored, r[k+1].stored) }),
			verdict: Altered, index: k + 1, words: "record 51: its body is not", starts: true},
		{name: "body taken away", do: segment(func(s []byte) []byte {
			r := records(s)[k]
			f := framesOf(s)[r.frame]
			binary.BigEndian.PutUint32(f[4:], binary.BigEndian.Uint32(f[4:])-uint32(len(r.stored)))
			binary.BigEndian.PutUint32(s[r.entry:], 0)
			return repair(slices.Delete(s, r.entry+entryHeader, r.entry+entryHeader+len(r.stored)))
		}), verdict: Missing, index: k, words: "its body is not here, and no record says why", starts: true},
		{name: "frame twice", do: segment(func([]byte) []byte {
			return bytes.Join(slices.Insert(slices.Clone(frames), at.frame, frames[at.frame]), nil)
		}),
			verdict: Altered, index: k, words: "put in or numbered anew"},
		{name: "frame twice, numbered anew", do: segment(func([]byte) []byte { return renumber(slices.Insert(slices.Clone(frames), at.frame, frames[at.frame])) }),
			verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "frame put in", do: segment(func([]byte) []byte {
			it := prepared(t, nil, hits(5000, 1)...)[0]
			it.leaf.setNanos((*leaf)(at.leaf).nanos())
			f := appendEntry(make([]byte, frameHeader), &it)
			finishFrame(f, 0, 1)
			return renumber(slices.Insert(slices.Clone(frames), at.frame, f))
		}), verdict: Altered, index: k, words: "not the records that were signed"},
		{name: "segment of another log", do: func(dir string) { write(t, dir, testSeg, read(t, other, testSeg)) },
			verdict: Altered, index: 0, words: "it names another verifier key"},
		{name: "checkpoint gone", do: remove("log/1/checkpoint"),
			verdict: Missing, index: -1, words: "the latest checkpoint is gone", starts: true},
		{name: "checkpoint of another log", do: file("checkpoint", func([]byte) []byte { return read(t, other, "log/1/checkpoint") }),
			verdict: Altered, index: -1, words: "it is not signed by the log's key"},
		{name: "old checkpoint", do: file("checkpoint", func([]byte) []byte {
			h := heads(read(t, base, "log/1/checkpoints.log"))[1]
			return h[:len(h)-1]
		}), verdict: Altered, index: -1, words: "the latest checkpoint is an old one, of 31 records", starts: true},
		{name: "checkpoint raised", do: file("checkpoint", func(b []byte) []byte { return bytes.Replace(b, []byte("\n121\n"), []byte("\n122\n"), 1) }),
			verdict: Altered, index: -1, words: "its signature is not right"},
		{name: "history gone", do: remove("log/1/checkpoints.log"),
			verdict: Missing, index: -1, words: "the history of signed heads ends at 0 records"},
		{name: "end of the history gone", do: file("checkpoints.log", func(b []byte) []byte { return bytes.Join(heads(b)[:3], nil) }),
			verdict: Missing, index: -1, words: "the history of signed heads ends at 61 records, the latest checkpoint is of 121"},
		{name: "history changed", do: file("checkpoints.log", func(b []byte) []byte { return bytes.Replace(b, []byte("\n61\n"), []byte("\n60\n"), 1) }),
			verdict: Altered, index: -1, words: "a checkpoint in the history: its signature is not right (log/1/checkpoints.log offset 4", starts: true},
		{name: "history reordered", do: file("checkpoints.log", func(b []byte) []byte {
			h := heads(b)
			h[1], h[2] = h[2], h[1]
			return bytes.Join(h, nil)
		}), verdict: Altered, index: -1, words: "a head of 31 records stands after one of 61", starts: true},
		{name: "all heads gone", do: remove("log/1/checkpoint", "log/1/checkpoints.log"), verdict: Missing, index: -1, words: "no signed head is left"},
		{name: "another key beside the log", do: func(dir string) { write(t, dir, verifierFile, read(t, other, verifierFile)) },
			verdict: Altered, index: -1, words: "it is not signed by the log's key", starts: true},
		{name: "rolled back in one piece, a head kept elsewhere", do: func(dir string) {
			h := heads(read(t, dir, "log/1/checkpoints.log"))[:2]
			write(t, dir, "log/1/checkpoints.log", bytes.Join(h, nil))
			write(t, dir, "log/1/checkpoint", h[1][:len(h[1])-1])
			write(t, dir, testSeg, seg[:offsets(seg)[all[31].frame]])
		}, verdict: Missing, index: 31, words: "121 records are signed, 31 are here (checkpoint 1 of those given", starts: true,
			heads: [][]byte{read(t, base, "log/1/checkpoint")}},
		{name: "rewritten with the key, a head kept elsewhere", do: func(dir string) {
			for _, name := range []string{testSeg, "log/1/checkpoint", "log/1/checkpoints.log"} {
				write(t, dir, name, read(t, rewritten, name))
			}
		}, verdict: Fork, index: -1, words: "the head of 121 records was signed with another root than the records have, which the head of 231 signs", starts: true,
			heads: [][]byte{read(t, base, "log/1/checkpoint")}},
		{name: "rewritten with the key, one old head left", do: func(dir string) {
			write(t, dir, testSeg, read(t, rewritten, testSeg))
			write(t, dir, "log/1/checkpoint", read(t, rewritten, "log/1/checkpoint"))
			h, h2 := heads(read(t, base, "log/1/checkpoints.log")), heads(read(t, rewritten, "log/1/checkpoints.log"))
			write(t, dir, "log/1/checkpoints.log", slices.Concat(h2[0], h2[1], h[2], h2[2]))
		}, verdict: Fork, index: -1, words: "the head of 61 records was signed with another root", starts: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, base)
			tt.do(dir)
			o := VerifyOptions{VerifierKey: vkey, Heads: tt.heads}
			if tt.name == "another key beside the log" {
				o.VerifierKey = ""
			}
			r, err := Verify(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			named := false
			for _, f := range r.Findings {
				named = named || f.Verdict == tt.verdict && strings.Contains(f.String(), tt.words) &&
					(f.Index == tt.index || f.Index <= tt.index && tt.index < f.Index+f.Count)
			}
			if !named || r.OK() {
				t.Errorf("want %s %d %q, got %d alarms", tt.verdict, tt.index, tt.words, r.Alarms)
				for _, f := range r.Findings {
					t.Log(f)
				}
			}
			// A start finds it too, but for bodies that are signed already, and for
			// what only a head from elsewhere can tell.
			l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
			if err == nil {
				mustClose(t, l)
			}
			if (err == nil) != tt.starts {
				t.Errorf("open: %v", err)
			}
		})
	}
}

// A frame whose number is damaged is damaged, and no record of it is missing.
func TestDamagedNumber(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 10)
	seg := read(t, dir, testSeg)
	seg[offsets(seg)[3]+12+7] += 100
	write(t, dir, testSeg, seg)
	r := verify(t, dir)
	if len(r.Findings) != 1 || r.Findings[0].Verdict != Altered || r.Findings[0].Index != 4 || r.Findings[0].Count != 3 || r.Signed != r.Records {
		t.Errorf("%v", r.Findings)
	}
}

// first returns the index of the first record of the frame that x is in.
func (x lay) first(seg []byte) int64 {
	return int64(binary.BigEndian.Uint64(framesOf(seg)[x.frame][12:]))
}

// Random tampering with random places: never unnoticed, always with a place.
func TestRandomTampering(t *testing.T) {
	base := t.TempDir()
	vkey := fill(t, base, 40)
	seg := read(t, base, testSeg)
	frames := framesOf(seg)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	kinds := []struct {
		name string
		do   func(s []byte) []byte
	}{
		{"bit", func(s []byte) []byte { s[rng.IntN(len(s))] ^= 1 << rng.IntN(8); return s }},
		{"bit of a leaf, repaired", func(s []byte) []byte {
			r := records(s)
			r[rng.IntN(len(r))].leaf[rng.IntN(leafSize)] ^= 1 << rng.IntN(8)
			return repair(s)
		}},
		{"bit of a body, repaired", func(s []byte) []byte {
			r := records(s)
			b := r[rng.IntN(len(r))].stored
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			return repair(s)
		}},
		{"cut", func(s []byte) []byte { return s[:rng.IntN(len(s))] }},
		{"dropped and numbered anew", func([]byte) []byte {
			i := rng.IntN(len(frames))
			return renumber(slices.Delete(slices.Clone(frames), i, i+1))
		}},
		{"swapped and numbered anew", func([]byte) []byte {
			f := slices.Clone(frames)
			i := rng.IntN(len(f))
			j := (i + 1 + rng.IntN(len(f)-1)) % len(f)
			f[i], f[j] = f[j], f[i]
			return renumber(f)
		}},
		{"a stretch overwritten", func(s []byte) []byte {
			i := rng.IntN(len(s) - 1)
			for j := i; j < min(len(s), i+1+rng.IntN(600)); j++ {
				s[j] = ^s[j]
			}
			return s
		}},
		{"a stretch taken out", func(s []byte) []byte {
			i := rng.IntN(len(s) - 1)
			return slices.Delete(s, i, min(len(s), i+1+rng.IntN(600)))
		}},
		{"a stretch twice", func(s []byte) []byte {
			i := rng.IntN(len(s) - 601) // what comes after the end was never signed
			return slices.Insert(s, i, s[i:i+1+rng.IntN(600)]...)
		}},
		{"two leaves swapped, repaired", func(s []byte) []byte {
			r := records(s)
			i := rng.IntN(len(r))
			swap(r[i].leaf, r[(i+1+rng.IntN(len(r)-1))%len(r)].leaf)
			return repair(s)
		}},
	}
	dir := copyDir(t, base)
	for n := range 300 {
		k := kinds[n%len(kinds)]
		write(t, dir, testSeg, k.do(bytes.Clone(seg)))
		r, err := Verify(dir, VerifyOptions{VerifierKey: vkey})
		if err != nil {
			t.Errorf("seed %d, %d %s: %v", seed, n, k.name, err)
			continue
		}
		if r.OK() || r.Findings[0].File == "" && r.Findings[0].Index < 0 {
			t.Errorf("seed %d, %d %s: not found, or without a place: %v", seed, n, k.name, r.Findings)
		}
		l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
		if err == nil {
			mustClose(t, l)
		}
		if bodies := k.name == "bit of a body, repaired"; err == nil != bodies && !errors.Is(err, ErrTampered) {
			t.Errorf("seed %d, %d %s: open: %v", seed, n, k.name, err)
		}
	}
}
