package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// named reports whether a finding is this verdict, covers this record (or is about
// none, if that is -1), has these words and is in this file.
func named(list []Finding, verdict Verdict, index int64, file, words string) bool {
	return slices.ContainsFunc(list, func(f Finding) bool {
		return f.Verdict == verdict && f.File == file && strings.Contains(f.String(), words) &&
			(f.Index == index || f.Index <= index && index < f.Index+f.Count)
	})
}

// Every way to tamper with a log that has been sealed, thinned out and erased is found
// and named: what it is, and where. With keys the record is; without, at least the
// file. The attacker has no keys but repairs every number and checksum.
func TestTamperingWithSealed(t *testing.T) {
	base := memDir(t)
	x := live(t, base)
	other := memDir(t)
	live(t, other)
	one, two := x.file(0, ClassContent, dayOne), x.file(0, ClassContent, dayTwo)
	push := x.file(0, ClassPush, dayTwo)
	policy := x.file(0, ClassPolicy, dayTwo)
	last := x.file(1, ClassContent, dayTwo)
	segs := []string{x.seal[0].Segment, x.seal[1].Segment}
	active := "log/1/seg/" + nameOfSegment(x.seal[1].Next)
	k := x.kept
	entries := entriesOf(read(t, base, two.File))
	at := slices.IndexFunc(entries, func(e movedEntry) bool { return e.index == k })
	keyFile := "keys/content/2026-11.keys"
	heldFile := func() string {
		names, err := filepath.Glob(filepath.Join(base, "body/hold/*/*"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		name, err := filepath.Rel(base, names[0])
		if err != nil {
			t.Fatal(err)
		}
		return name
	}()

	type edit func(t *testing.T, dir string)
	file := func(name string, fn func(b []byte) []byte) edit {
		return func(t *testing.T, dir string) { write(t, dir, name, fn(read(t, dir, name))) }
	}
	moved := func(name string, fn func(all []movedEntry) []movedEntry) edit {
		return file(name, func(b []byte) []byte { return joinBodies(b, fn(entriesOf(b))) })
	}
	segment := func(name string, fn func(r []lay)) edit {
		return file(name, func(b []byte) []byte {
			fn(records(b))
			return repair(b)
		})
	}
	remove := func(name string) edit {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange := func(a, b string) edit {
		return func(t *testing.T, dir string) {
			x, y := read(t, dir, a), read(t, dir, b)
			write(t, dir, a, y)
			write(t, dir, b, x)
		}
	}
	// The record of a kind in the active segment, and its index.
	find := func(b []byte, kind Kind) int {
		return slices.IndexFunc(records(b), func(r lay) bool { return Kind(r.leaf[1]) == kind })
	}
	cutRecord := func(kind Kind) edit {
		return file(active, func(b []byte) []byte {
			frames := framesOf(b)
			i := records(b)[find(b, kind)].frame
			first := int64(binary.BigEndian.Uint64(frames[0][12:]))
			out := bytes.Join(slices.Delete(slices.Clone(frames), i, i+1), nil)
			for _, f := range framesOf(out) {
				binary.BigEndian.PutUint64(f[12:], uint64(first))
				first += int64(binary.BigEndian.Uint32(f[20:]))
			}
			return repair(out)
		})
	}
	sealed := func(fn func(b *SealBody)) edit { // forge the first seal, which is in the second segment
		return file(segs[1], func(b []byte) []byte {
			r := records(b)[find(b, KindSeal)]
			var s SealBody
			if err := json.Unmarshal(r.stored[saltSize:], &s); err != nil {
				t.Fatal(err)
			}
			fn(&s)
			body, err := json.Marshal(s)
			if err != nil || len(body) != len(r.stored)-saltSize {
				t.Fatal(len(body), len(r.stored), err)
			}
			copy(r.stored[saltSize:], body)
			l := (*leaf)(r.leaf)
			copy(r.leaf[leafCommitment:], commitmentOf(l.id(), r.stored))
			return repair(b)
		})
	}
	flipped := func(sum string) string {
		if sum[0] == '0' {
			return "1" + sum[1:]
		}
		return "0" + sum[1:]
	}

	const fileHash = "the file is not the one that record #"
	tests := []struct {
		name  string
		do    edit
		word  Verdict
		index int64
		file  string
		words string // with keys
		// Without keys, if it is another finding.
		blind      string
		blindIndex int64
		blindWord  Verdict
		note       bool // it is no alarm
	}{
		{name: "bit of a body", do: file(two.File, func(b []byte) []byte { b[entries[at].offset+bodyEntryHeader+handleSize+20] ^= 1; return b }),
			word: Altered, index: k, file: two.File, words: "its body cannot be opened: the key it names does not open it", blind: fileHash, blindIndex: two.First},
		{name: "bit of a handle", do: file(two.File, func(b []byte) []byte { b[entries[at].offset+bodyEntryHeader+5] ^= 1; return b }),
			word: Missing, index: k, file: two.File, words: "the key of its body is gone, and no record says why", blind: fileHash, blindIndex: two.First, blindWord: Altered},
		{name: "bit of a body in clear", do: file(policy.File, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
			word: Altered, index: policy.Last, file: policy.File, words: "its body is not the one its leaf commits to"},
		{name: "bit of a body that a hold kept", do: file(heldFile, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
			word: Altered, index: x.held, file: heldFile, words: "its body cannot be opened", blind: "-"},
		{name: "what a hold kept is gone", do: remove(heldFile),
			word: Destroyed, index: one.First, file: one.File, words: "11 bodies, see #", note: true},
		{name: "body file cut short", do: file(two.File, func(b []byte) []byte { return b[:entries[at].offset+30] }),
			word: Altered, index: k, file: two.File, words: "it ends inside an entry; "},
		{name: "end of a body file cut off", do: moved(two.File, func(all []movedEntry) []movedEntry { return all[:at] }),
			word: Missing, index: k, file: two.File, words: "of it, which record #"},
		{name: "body file emptied", do: file(two.File, func([]byte) []byte { return nil }),
			word: Altered, index: two.First, file: two.File, words: "it ends inside an entry"},
		{name: "body file gone", do: remove(two.File),
			word: Missing, index: two.First, file: two.File, words: "the file is gone with 11 bodies, and no record says why"},
		{name: "body cut out", do: moved(two.File, func(all []movedEntry) []movedEntry { return slices.Delete(all, at, at+1) }),
			word: Missing, index: k, file: two.File, words: "1 body of it, which record #"},
		{name: "body twice", do: moved(two.File, func(all []movedEntry) []movedEntry { return slices.Insert(all, at, all[at]) }),
			word: Altered, index: entries[at+1].index, file: two.File, words: "no entry begins here"},
		{name: "body put in", do: moved(two.File, func(all []movedEntry) []movedEntry {
			e := movedEntry{bytes: bytes.Clone(all[len(all)-1].bytes)}
			binary.BigEndian.PutUint32(e.bytes, uint32(x.seal[0].Next+1))
			return append(all, e)
		}), word: Altered, index: -1, file: two.File, words: "1 body of it that is of no record"},
		{name: "bodies swapped", do: moved(two.File, func(all []movedEntry) []movedEntry {
			a, b := bytes.Clone(all[at].bytes), bytes.Clone(all[at+1].bytes)
			copy(a[:4], all[at+1].bytes)
			copy(b[:4], all[at].bytes)
			all[at].bytes, all[at+1].bytes = b, a
			return all
		}), word: Altered, index: k, file: two.File, words: "its body cannot be opened", blind: fileHash, blindIndex: two.First},
		{name: "body files of two segments swapped", do: exchange(two.File, last.File),
			word: Altered, index: two.First, file: two.File, words: "it is not the file of the segment of record 0"},
		{name: "body files of two classes swapped", do: exchange(two.File, push.File),
			word: Missing, index: two.First, file: two.File, words: "of it, which record #"},
		{name: "body files of two days swapped", do: exchange(push.File, x.file(0, ClassPush, dayOne).File),
			word: Missing, index: push.First, file: push.File, words: "bodies of it, which record #"},
		{name: "body file without bodies", do: moved(two.File, func([]movedEntry) []movedEntry { return nil }),
			word: Missing, index: two.First, file: two.File, words: "11 bodies of it, which record #"},
		{name: "body file of another log", do: func(t *testing.T, dir string) { write(t, dir, two.File, read(t, other, two.File)) },
			word: Missing, index: k, file: two.File, words: "the key of its body is gone, and no record says why", blind: fileHash, blindIndex: two.First, blindWord: Altered},
		{name: "body file back that was destroyed", do: func(t *testing.T, dir string) {
			write(t, dir, one.File, binary.BigEndian.AppendUint64([]byte(bodyMagic+"\x00\x00\x00\x00"), 0))
		}, word: Unfinished, index: one.First, file: one.File, words: "says that the file is destroyed, and it is here"},
		{name: "body file that nobody knows", do: func(t *testing.T, dir string) { write(t, dir, "body/content/2026-10-30/1-7.body", nil) },
			word: Unexplained, index: -1, file: "body/content/2026-10-30/1-7.body", words: "no record speaks of this body file", note: true},
		{name: "left by a crash", do: func(t *testing.T, dir string) { write(t, dir, two.File+".tmp", nil) },
			word: Unexplained, index: -1, file: two.File + ".tmp", words: "it was left by a crash", note: true},

		{name: "key file gone", do: remove(keyFile),
			word: Missing, index: -2, file: keyFile, words: "the key file is gone with the keys of "},
		{name: "key gone", do: file(keyFile, func(b []byte) []byte {
			h := entries[at].bytes[bodyEntryHeader : bodyEntryHeader+handleSize]
			i := bytes.Index(b, h)
			return slices.Delete(b, i, i+104)
		}), word: Missing, index: k, file: two.File, words: "the key of its body is gone, and no record says why", blind: "-"},
		{name: "key damaged", do: file(keyFile, func(b []byte) []byte {
			h := entries[at].bytes[bodyEntryHeader : bodyEntryHeader+handleSize]
			b[bytes.Index(b, h)+60] ^= 1
			return b
		}), word: Altered, index: k, file: two.File, words: "the key of its body in " + keyFile + " is damaged", blind: "-"},

		{name: "bit of a stripped segment", do: file(segs[0], func(b []byte) []byte { records(b)[k].leaf[20] ^= 1; return b }),
			word: Altered, index: k, file: segs[0], words: "checksum does not match"},
		{name: "leaf of a stripped segment, repaired", do: segment(segs[0], func(r []lay) { r[k].leaf[40] ^= 1 }),
			word: Altered, index: k, file: two.File, words: "its body is not the one its leaf commits to", blind: "the segment is not the one that record #"},
		{name: "stripped segment back-dated", do: segment(segs[0], func(r []lay) { (*leaf)(r[k].leaf).setNanos((*leaf)(r[k-1].leaf).nanos() - 1) }),
			word: Altered, index: k, file: segs[0], words: "it was recorded before the record before it"},
		{name: "leaves of a stripped segment swapped", do: segment(segs[0], func(r []lay) { swap(r[entries[at].index].leaf, r[entries[at+1].index].leaf) }),
			word: Altered, index: k, file: segs[0], words: "the segment is not the one that record #"},
		{name: "stripped segment gone", do: remove(segs[0]),
			word: Missing, index: k, file: segs[1], words: "the next frame begins with record "},
		{name: "last frame of a stripped segment cut off", do: file(segs[0], func(b []byte) []byte { return b[:offsets(b)[len(framesOf(b))-1]] }),
			word: Missing, index: x.seal[0].Next - 1, file: segs[1], words: "the next frame begins with record "},
		{name: "body of an audit record taken away", do: file(segs[0], func(b []byte) []byte {
			i := find(b, KindIncident)
			r := records(b)[i]
			f := framesOf(b)[r.frame]
			binary.BigEndian.PutUint32(f[4:], binary.BigEndian.Uint32(f[4:])-uint32(len(r.stored)))
			binary.BigEndian.PutUint32(b[r.entry:], 0)
			return repair(slices.Delete(b, r.entry+entryHeader, r.entry+entryHeader+len(r.stored)))
		}), word: Missing, index: int64(find(read(t, base, segs[0]), KindIncident)), file: segs[0], words: "its body is not here, and no record says why"},

		{name: "seal forged", do: sealed(func(s *SealBody) { s.Bodies[0].SHA256 = flipped(s.Bodies[0].SHA256) }),
			word: Altered, index: x.seal[0].Next, file: segs[1], words: "not the records that were signed"},
		{name: "seal that names another file", do: sealed(func(s *SealBody) { s.Bodies[0].File = strings.Replace(s.Bodies[0].File, "-30/", "-29/", 1) }),
			word: Missing, index: -2, file: strings.Replace(one.File, "-30/", "-29/", 1), words: "the file is gone with "},
		{name: "seal with another root", do: sealed(func(s *SealBody) { s.Root = flipped(s.Root) }),
			word: Altered, index: x.seal[0].Next - 1, file: segs[0], words: "seals the segment that ends here with another root"},
		{name: "destroy record cut out", do: cutRecord(KindDestroy),
			word: Altered, index: x.destroy, file: active, words: "not the records that were signed"},
		{name: "destroy and destroyed records cut out", do: func(t *testing.T, dir string) {
			cutRecord(KindDestroyed)(t, dir)
			cutRecord(KindDestroy)(t, dir)
		}, word: Missing, index: one.First, file: one.File, words: "the file is gone with 10 bodies, and no record says why"},
		{name: "shred record cut out", do: cutRecord(KindShred),
			word: Missing, index: -2, file: two.File, words: "the key of its body is gone, and no record says why", blind: "not the records that were signed", blindIndex: x.shred, blindWord: Altered},
		{name: "checkpoint of another log", do: func(t *testing.T, dir string) { write(t, dir, "log/1/checkpoint", read(t, other, "log/1/checkpoint")) },
			word: Altered, index: -1, file: "log/1/checkpoint", words: "it is not signed by the log's key"},

		{name: "index altered", do: file(indexName("1", 0), func(b []byte) []byte { b[indexHeader+5] ^= 1; return b }),
			word: Rebuild, index: -1, file: indexName("1", 0), words: "its checksum does not match; it is derived", note: true},
		{name: "index altered, checksum repaired", do: file(indexName("1", 0), func(b []byte) []byte { b[indexHeader+8*k+3] ^= 1; checksumIndex(b); return b }),
			word: Rebuild, index: -1, file: indexName("1", 0), words: "it has another place for record ", note: true},
		{name: "index without a record's id, checksum repaired", do: file(indexName("1", 0), func(b []byte) []byte {
			n := int(binary.BigEndian.Uint32(b[24:]))
			b[indexHeader+n*placeSize+7] ^= 1
			checksumIndex(b)
			return b
		}), word: Rebuild, index: -1, file: indexName("1", 0), words: "it does not have the records of its segment", note: true},
		{name: "index with terms in another order, checksum repaired", do: file(indexName("1", 0), func(b []byte) []byte {
			swap(b[len(b)-postingSize:], b[len(b)-2*postingSize:len(b)-postingSize])
			checksumIndex(b)
			return b
		}), word: Rebuild, index: -1, file: indexName("1", 0), words: "its tables lead elsewhere", note: true},
		{name: "index gone", do: remove(indexName("1", 0)),
			word: Rebuild, index: -1, file: indexName("1", 0), words: "it is not here; it is derived", note: true},
		{name: "index of nothing", do: func(t *testing.T, dir string) { write(t, dir, "idx/1-00000000000000000077.idx", nil) },
			word: Unexplained, index: -1, file: "idx/1-00000000000000000077.idx", words: "no record seals a segment of this index", note: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyDir(t, base)
			tt.do(t, dir)
			for _, ring := range []*keys.Ring{ringOf(t, dir), nil} {
				word, index, words, name := tt.word, tt.index, tt.words, tt.file
				if ring == nil && tt.blind != "" {
					if words = tt.blind; tt.blindIndex != 0 {
						index = tt.blindIndex
					}
					if tt.blindWord != "" {
						word = tt.blindWord
					}
				}
				r, err := VerifyAll(dir, []string{x.vkey}, VerifyOptions{Keys: ring})
				if err != nil {
					t.Fatal(err)
				}
				if words == "-" { // what only keys can tell
					if !r.OK() {
						t.Errorf("without keys: %v", r.FirstBad)
					}
					continue
				}
				all := append(slices.Clone(r.Findings), r.Logs[0].Findings...)
				found := slices.ContainsFunc(all, func(f Finding) bool {
					return named([]Finding{f}, word, index, name, words) || index == -2 && named([]Finding{f}, word, f.Index, name, words) ||
						ring == nil && tt.blind != "" && named([]Finding{f}, word, index, f.File, words)
				})
				if !found || r.OK() != tt.note {
					t.Errorf("keys %v: want %s %d %q in %s, got %d alarms", ring != nil, word, index, words, name, r.Alarms)
					for _, f := range all {
						t.Log(f)
					}
				}
				if !tt.note && (r.FirstBad == nil || r.FirstBad.File == "") {
					t.Errorf("keys %v: the first bad record has no place: %v", ring != nil, r.FirstBad)
				}
			}
		})
	}
}

// checksumIndex makes the checksum of an index right.
func checksumIndex(b []byte) {
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
}

// nameOfSegment is the file of the segment that begins with first.
func nameOfSegment(first int64) string { return filepath.Base(segmentPath("", first)) }

// commitmentOf is what a leaf commits to.
func commitmentOf(id ID, saltAndBody []byte) []byte {
	h := sha256.New()
	h.Write([]byte(commitmentTag))
	h.Write(id[:])
	h.Write(saltAndBody)
	return h.Sum(nil)
}

// Random tampering with random places of a log that everything has happened to, with
// checksums repaired where an attacker would: never unnoticed, and always with a place.
func TestRandomTamperingWithSealed(t *testing.T) {
	base := memDir(t)
	x := live(t, base)
	rounds := 1500
	if testing.Short() {
		rounds = 150
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	segs := []string{x.seal[0].Segment, x.seal[1].Segment, "log/1/seg/" + nameOfSegment(x.seal[1].Next)}
	var moved []string
	for _, name := range files(t, filepath.Join(base, bodiesDir)) {
		if !strings.HasPrefix(name, holdsDir) {
			moved = append(moved, bodiesDir+"/"+name)
		}
	}
	stretch := func(b []byte) (int, int) {
		i := rng.IntN(len(b))
		return i, min(len(b), i+1+rng.IntN(300))
	}
	// What can be done to any file.
	plain := []func(b []byte) []byte{
		func(b []byte) []byte { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8); return b },
		func(b []byte) []byte { return b[:rng.IntN(len(b))] },
		func(b []byte) []byte {
			i, j := stretch(b)
			for ; i < j; i++ {
				b[i] = ^b[i]
			}
			return b
		},
		func(b []byte) []byte { i, j := stretch(b); return slices.Delete(b, i, j) },
		func(b []byte) []byte {
			i, j := stretch(b[:len(b)-1])
			return slices.Insert(b, i, bytes.Clone(b[i:j])...)
		},
		func([]byte) []byte { return nil },
	}
	// What keeps a segment or a body file in form.
	segment := []func(b []byte) []byte{
		func(b []byte) []byte {
			r := records(b)
			r[rng.IntN(len(r))].leaf[rng.IntN(leafSize)] ^= 1 << rng.IntN(8)
			return repair(b)
		},
		func(b []byte) []byte {
			r := records(b)
			i := rng.IntN(len(r))
			swap(r[i].leaf, r[(i+1+rng.IntN(len(r)-1))%len(r)].leaf)
			return repair(b)
		},
		func(b []byte) []byte {
			f := framesOf(b)
			first := binary.BigEndian.Uint64(b[12:])
			i := rng.IntN(len(f))
			b = bytes.Join(slices.Delete(slices.Clone(f), i, i+1), nil)
			for _, f := range framesOf(b) {
				binary.BigEndian.PutUint64(f[12:], first)
				first += uint64(binary.BigEndian.Uint32(f[20:]))
			}
			return repair(b)
		},
		func(b []byte) []byte { // a body of it: what keys alone can tell if it is encrypted
			first := int64(binary.BigEndian.Uint64(b[12:]))
			r := records(b)
			i := rng.IntN(len(r))
			for len(r[i].stored) == 0 || slices.Contains(x.erased, first+int64(i)) {
				i = (i + 1) % len(r)
			}
			s := r[i].stored
			if l := (*leaf)(r[i].leaf); l.encrypted() {
				// Index terms are derived from the body, and nothing commits to them.
				p, _ := splitStored(l, s)
				if s = p.rest; rng.IntN(2) == 0 {
					s = p.handle
				}
			}
			s[rng.IntN(len(s))] ^= 1 << rng.IntN(8)
			return repair(b)
		},
	}
	body := []func(b []byte) []byte{
		func(b []byte) []byte {
			e := entriesOf(b)
			s := e[rng.IntN(len(e))].bytes
			s[bodyEntryHeader+rng.IntN(len(s)-bodyEntryHeader)] ^= 1 << rng.IntN(8)
			return joinBodies(b, e)
		},
		func(b []byte) []byte {
			e := entriesOf(b)
			i := rng.IntN(len(e))
			return joinBodies(b, slices.Delete(e, i, i+1))
		},
		func(b []byte) []byte { // two bodies change places
			e := entriesOf(b)
			i := rng.IntN(len(e))
			j := (i + 1 + rng.IntN(max(1, len(e)-1))) % len(e)
			a, c := bytes.Clone(e[i].bytes), bytes.Clone(e[j].bytes)
			copy(a, e[j].bytes[:4])
			copy(c, e[i].bytes[:4])
			e[i].bytes, e[j].bytes = c, a
			return joinBodies(b, e)
		},
		func(b []byte) []byte {
			e := entriesOf(b)
			i := rng.IntN(len(e))
			return joinBodies(b, slices.Insert(e, i, e[i]))
		},
	}
	dir := copyDir(t, base)
	ring := ringOf(t, dir)
	found := 0
	for n := range rounds {
		name := segs[rng.IntN(len(segs))]
		forms := segment
		if rng.IntN(2) == 0 {
			name, forms = moved[rng.IntN(len(moved))], body
		}
		kind := rng.IntN(len(plain) + len(forms))
		whole := read(t, base, name)
		b := bytes.Clone(whole)
		if kind < len(plain) {
			b = plain[kind](b)
		} else {
			b = forms[kind-len(plain)](b)
		}
		if bytes.Equal(b, whole) {
			continue // a body that changed places with itself
		}
		found++
		write(t, dir, name, b)
		for _, ring := range []*keys.Ring{ring, nil} {
			if ring == nil && kind == len(plain)+len(segment)-1 && name == segs[2] {
				continue
			}
			r, err := Verify(dir, VerifyOptions{VerifierKey: x.vkey, Keys: ring})
			if err != nil {
				t.Fatalf("seed %d, %d, kind %d of %s: %v", seed, n, kind, name, err)
			}
			if r.OK() || r.FirstBad.File == "" {
				t.Errorf("seed %d, %d, kind %d of %s, keys %v: not found, or without a place: %v", seed, n, kind, name, ring != nil, r.Findings)
			}
		}
		write(t, dir, name, whole)
	}
	if found < rounds*9/10 {
		t.Errorf("only %d of %d rounds changed something", found, rounds)
	}
	if r := verifyWith(t, dir, ring); !r.OK() {
		t.Errorf("put back: %v", r.Findings)
	}
}
