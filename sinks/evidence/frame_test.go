package evidence

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A frame is these bytes and no others: the format is fixed.
func TestFrameBytes(t *testing.T) {
	items := prepared(t, nil, Record{ID: newID(0x0102), Kind: KindPush, Class: ClassPush, Body: []byte("{}")})
	it := &items[0]
	for i := range saltSize {
		it.stored[i] = byte(i)
	}
	// printf 'ev1 body\n' and the bytes of id, salt and body below, through sha256sum.
	const sum = "c71ae1af1755993e5db56aedc1d3ec02464565bb94ec0b3ce1fc885455185dce"
	commitment, err := hex.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	copy(it.leaf[leafCommitment:], commitment)
	if !it.leaf.commitsTo(it.stored) {
		t.Error("another commitment")
	}
	it.leaf.setNanos(0x1112131415161718)
	b := appendEntry(make([]byte, frameHeader), it)
	finishFrame(b, 7, 1)
	want := strings.Join([]string{
		"65766631", "00000066", "", "0000000000000007", "00000001", "00000000", // header
		"00000022",                                                                     // stored body
		"01110300", "00000000000000000000000000000102", "1112131415161718", "00000002", // leaf
		sum,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "7b7d",
	}, "")
	got := hex.EncodeToString(b[:8]) + hex.EncodeToString(b[12:])
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A bit that flips between the two times a leaf is hashed is found.
func TestLeafIsHashedTwice(t *testing.T) {
	items := prepared(t, nil, hits(0, 3)...)
	var b []byte
	var hashes []tlog.Hash
	for i := range items {
		b = appendEntry(b, &items[i])
		hashes = append(hashes, hashLeaf(&items[i].leaf))
	}
	if err := checkHashes(b, hashes); err != nil {
		t.Error(err)
	}
	for bit := range leafSize * 8 {
		second := entryHeader + len(items[0].stored) + 4
		b[second+bit/8] ^= 1 << (bit % 8)
		if err := checkHashes(b, hashes); !errors.Is(err, errFlipped) {
			t.Errorf("bit %d: %v", bit, err)
		}
		b[second+bit/8] ^= 1 << (bit % 8)
	}
}

// Frames that are read come out as they were written, and no bytes whatever make
// the reader panic, run for ever, or read beyond the file.
func FuzzFrames(f *testing.F) {
	items := prepared(f, nil, hits(0, 3)...)
	b := make([]byte, frameHeader)
	for i := range items {
		b = appendEntry(b, &items[i])
	}
	finishFrame(b, 0, 3)
	f.Add(b)
	f.Add(append(bytes.Clone(b), b...))
	f.Add(append([]byte("rubbish"), b...))
	f.Add(b[:len(b)-1])
	f.Add([]byte(frameMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := frameReader{r: bytes.NewReader(data), size: int64(len(data))}
		var out []byte
		for r.off < r.size {
			fr, err := r.next()
			if errors.Is(err, io.EOF) {
				t.Fatal("EOF before the end")
			}
			if err == nil {
				again := append(make([]byte, frameHeader), fr.entries...)
				finishFrame(again, fr.first, fr.count)
				out = append(out, again...)
				continue
			}
			if !isDamage(err) {
				t.Fatal(err)
			}
			at := fr.offset
			fl, err := r.assess(&segment{}, fr, err, true)
			if err != nil {
				t.Fatal(err)
			}
			if fl.resume <= at || fl.resume > r.size {
				t.Fatalf("damage at %d of %d goes on to %d", at, r.size, fl.resume)
			}
			out = append(out, data[at:fl.resume]...)
			r.off = fl.resume
		}
		if !bytes.Equal(out, data) {
			t.Error("what was read is not what was there")
		}
	})
}

// A checkpoint that the key has signed but that does not say what a checkpoint of
// this log says is refused in words that tell what is wrong.
func TestBadCheckpoints(t *testing.T) {
	secret, _, err := note.GenerateKey(nil, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	root := tlog.Hash{1}.String()
	for _, tt := range []struct{ text, want string }{
		{"example.net/evidence/other/1\n7\n" + root + "\n", "it belongs to another log"},
		{testOrigin + "\n7\n", "it has fewer than three lines"},
		{testOrigin + "\n0\n" + root + "\n", "its size is not a number"},
		{testOrigin + "\n07\n" + root + "\n", "its size is not a number"},
		{testOrigin + "\n-7\n" + root + "\n", "its size is not a number"},
		{testOrigin + "\n7\n" + root + "=\n", "its root is not a hash"},
		{testOrigin + "\n7\n" + root + "\nand an extension\n", ""},
	} {
		msg, err := note.Sign(&note.Note{Text: tt.text}, k.signer)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseCheckpoint(msg, k.verifier)
		if tt.want == "" {
			if err != nil || h != (head{7, tlog.Hash{1}}) {
				t.Errorf("%q: %v, %v", tt.text, h, err)
			}
		} else if err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// No bytes whatever make the readers of checkpoints panic or accept what is not
// signed, and a history is the same read from the front and from the end.
func FuzzCheckpoints(f *testing.F) {
	secret, public, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), testOrigin)
	if err != nil {
		f.Fatal(err)
	}
	k, err := parseKey(secret)
	if err != nil || k.public != public {
		f.Fatal(err, k)
	}
	var history []byte
	known := make(map[head]bool)
	for i := range 3 {
		h := head{size: int64(i + 1)}
		known[h] = true
		msg, err := h.sign(k)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
		history = append(append(history, msg...), '\n')
	}
	f.Add(history)
	f.Add(history[:len(history)-1])
	f.Add([]byte("\n\n— x\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := parseCheckpoint(data, k.verifier); err == nil && !known[h] {
			t.Errorf("accepted %v", h)
		}
		r := historyReader{r: bytes.NewReader(data), size: int64(len(data))}
		n := int64(0)
		for {
			msg, offset, err := r.next()
			if err != nil {
				if errors.Is(err, io.EOF) != (n == int64(len(data))) {
					t.Errorf("%v at %d of %d", err, n, len(data))
				}
				break
			}
			if offset != n {
				t.Errorf("offset %d, want %d", offset, n)
			}
			n += int64(len(msg)) + 1
		}
	})
}

// What is stored is taken apart where it says, and never beyond its end.
func TestSplitStored(t *testing.T) {
	var plain, sealed leaf
	sealed[3] = flagEncrypted
	handle, terms, rest := strings.Repeat("h", handleSize), "term one"+"term two", strings.Repeat("r", 40)
	raw := []byte(handle + "\x02" + terms + rest)
	p, ok := splitStored(&sealed, raw)
	if !ok || string(p.handle) != handle || string(p.terms) != terms || string(p.rest) != rest {
		t.Errorf("%q %v", p, ok)
	}
	for n := range handleSize + 1 + len(terms) {
		if _, ok := splitStored(&sealed, raw[:n]); ok {
			t.Errorf("%d bytes were taken apart", n)
		}
	}
	p, ok = splitMoved(&sealed, []byte(handle+rest))
	if !ok || string(p.handle) != handle || p.terms != nil || string(p.rest) != rest {
		t.Errorf("%q %v", p, ok)
	}
	if _, ok := splitMoved(&sealed, raw[:handleSize-1]); ok {
		t.Error("half a handle was taken")
	}
	for _, split := range []func(*leaf, []byte) (parts, bool){splitStored, splitMoved} {
		if p, ok := split(&plain, []byte(rest)); !ok || p.handle != nil || p.terms != nil || string(p.rest) != rest {
			t.Errorf("%q %v", p, ok)
		}
		if _, ok := split(&plain, raw[:saltSize-1]); ok {
			t.Error("half a salt was taken")
		}
	}
}
