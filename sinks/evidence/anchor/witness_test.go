package anchor

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// witness is one by C2SP tlog-witness, as small as the specification allows.
type witness struct {
	t    *testing.T
	name string
	key  ed25519.PrivateKey
	logs map[string]note.Verifier // by origin

	mu     sync.Mutex
	latest map[string]evidence.Head
	calls  []string // the old sizes it was asked with, and its answers
}

func newWitness(t *testing.T) (*witness, *httptest.Server) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{t: t, name: "witness.example/w1", key: key, logs: make(map[string]note.Verifier), latest: make(map[string]evidence.Head)}
	return w, w.serve()
}

// serve has the witness answer at an address. What was asked at another one counts for this
// one, too: close that before, and nothing is in hand there any more.
func (w *witness) serve() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /weir/add-checkpoint", w.addCheckpoint)
	s := httptest.NewServer(mux)
	w.t.Cleanup(s.Close)
	return s
}

func (w *witness) public() []byte {
	return append([]byte{cosignatureEd25519}, w.key.Public().(ed25519.PublicKey)...)
}

func (w *witness) vkey() string {
	h := cosignerHash(w.name, w.public())
	return fmt.Sprintf("%s+%x+%s", w.name, h[:4], base64.StdEncoding.EncodeToString(w.public()))
}

func (w *witness) knows(l *evidence.Log) {
	w.t.Helper()
	v, err := note.NewVerifier(l.VerifierKey())
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs[l.Origin()] = v
}

func (w *witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
		return
	}
	old, text, status := w.judge(string(body))
	w.calls = append(w.calls, fmt.Sprintf("%s: %d", old, status))
	if status == http.StatusConflict {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, text)
}

// judge goes through the specification from its beginning to its end.
func (w *witness) judge(body string) (old, text string, status int) {
	head, msg, ok := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	old, isOld := strings.CutPrefix(lines[0], "old ")
	size, err := strconv.ParseInt(old, 10, 64)
	if !ok || !isOld || err != nil || strconv.FormatInt(size, 10) != old || len(lines) > 64 {
		return old, "", http.StatusBadRequest
	}
	h, err := evidence.ParseCheckpoint([]byte(msg), "")
	if err != nil {
		return old, "", http.StatusBadRequest
	}
	v := w.logs[h.Origin]
	if v == nil {
		return old, "", http.StatusNotFound
	}
	n, err := note.Open([]byte(msg), note.VerifierList(v))
	if err != nil {
		return old, "", http.StatusForbidden
	}
	if size > h.Size {
		return old, "", http.StatusBadRequest
	}
	known := w.latest[h.Origin]
	if size != known.Size {
		return old, fmt.Sprintf("%d\n", known.Size), http.StatusConflict
	}
	if size == h.Size && known.Root != h.Root {
		return old, fmt.Sprintf("%d\n", known.Size), http.StatusConflict
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		p, err := tlog.ParseHash(line)
		if err != nil {
			return old, "", http.StatusBadRequest
		}
		proof = append(proof, p)
	}
	switch {
	case size == 0 || size == h.Size:
		if len(proof) > 0 {
			return old, "", http.StatusUnprocessableEntity
		}
	case tlog.CheckTree(proof, h.Size, h.Root, size, known.Root) != nil:
		return old, "", http.StatusUnprocessableEntity
	}
	w.latest[h.Origin] = h
	at := uint64(time.Now().Unix())
	sig := binary.BigEndian.AppendUint64(nil, at)
	sig = append(sig, ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, n.Text))...)
	hash := cosignerHash(w.name, w.public())
	return old, fmt.Sprintf("— %s %s\n— somebody.else %s\n", w.name,
		base64.StdEncoding.EncodeToString(append(hash[:4:4], sig...)), base64.StdEncoding.EncodeToString(append(hash[:4:4], sig...))), http.StatusOK
}

func newTestCosigner(t *testing.T, w *witness, s *httptest.Server, l *evidence.Log) *Cosigner {
	t.Helper()
	c, err := NewCosigner(WitnessConfig{URL: s.URL + "/weir", VerifierKey: w.vkey(), Every: 5 * time.Millisecond}, l, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A witness signs head after head, each with a proof from the one before, also after
// a restart, which does not know how far that was; its signatures are on record
// beside the log's.
func TestWitnessSigns(t *testing.T) {
	w, s := newWitness(t)
	l := open(t, evidence.Options{Origin: origin("a")})
	w.knows(l.Log)
	l.grow(t, 3)
	c := newTestCosigner(t, w, s, l.Log)
	if err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	cosigned := func() (list []Cosigned) {
		for _, text := range records(t, l.dir, evidence.KindAnchor) {
			var b Body
			if err := json.Unmarshal([]byte(text), &b); err != nil {
				t.Fatal(err)
			}
			list = append(list, b.Cosigned...)
		}
		return list
	}
	for n := range 3 {
		l.grow(t, 5)
		eventually(t, "the next signature", func() bool { return len(cosigned()) > n })
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range cosigned() {
		n, err := note.Open([]byte(x.Checkpoint), note.VerifierList(key, c.verifier))
		if err != nil || len(n.Sigs) != 2 || len(n.UnverifiedSigs) != 0 || x.Witness != w.name {
			t.Errorf("%v: cosigned by %s\n%s", err, x.Witness, x.Checkpoint)
		}
	}
	s.Close() // a request may have been in hand when its cosigner was stopped
	again := newTestCosigner(t, w, w.serve(), l.Log)
	l.grow(t, 7)
	w.calls = nil
	if err := again.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.calls) != 2 || w.calls[0] != "0: 409" || !strings.HasSuffix(w.calls[1], ": 200") {
		t.Errorf("after a restart the witness was asked %v, want once for its size and once with a proof", w.calls)
	}
}

// A log in which nothing happens but what the witness itself causes is not
// witnessed for ever.
func TestAnIdleLogIsWitnessedOnce(t *testing.T) {
	w, s := newWitness(t)
	l := open(t, evidence.Options{Origin: origin("a")})
	w.knows(l.Log)
	l.grow(t, 3)
	c := newTestCosigner(t, w, s, l.Log)
	for range 5 {
		if err := c.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		size := l.Size()
		eventually(t, "a signature", func() bool { return headOf(t, l.Checkpoint()).Size == size })
	}
	if n := len(records(t, l.dir, evidence.KindAnchor)); n != 1 {
		t.Errorf("%d records of signatures, want one", n)
	}
}

// A log of which a witness has signed more, or something else, does not start, and
// ends if it runs. A witness that does not answer holds up nothing.
func TestWitnessFindsARestoredLog(t *testing.T) {
	w, s := newWitness(t)
	l := open(t, evidence.Options{Origin: origin("a")})
	w.knows(l.Log)
	l.grow(t, 3)
	image := copyDir(t, l.dir)
	l.grow(t, 4)
	if err := newTestCosigner(t, w, s, l.Log).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := open(t, evidence.Options{Dir: image, Origin: origin("a")})
	c := newTestCosigner(t, w, s, old.Log)
	refused := func(want string) {
		t.Helper()
		if err := c.Check(t.Context()); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), want) {
			t.Errorf("check: %v\nwant %s", err, want)
		}
	}
	refused("ROLLED BACK: the witness witness.example/w1 has signed a head of 8 records of this log, 4 are signed here")
	old.grow(t, 4)
	refused("FORK: the witness witness.example/w1 has signed a head of 8 records of this log that is not the beginning of the 8 records here")
	old.grow(t, 4)
	refused("FORK: the witness witness.example/w1 has signed a head of 8 records of this log that is not the beginning of the 12 records here")
	if err := c.Run(t.Context()); !errors.Is(err, evidence.ErrBroken) {
		t.Errorf("run: %v", err)
	}
	if err := old.Append(t.Context(), []evidence.Record{{Kind: evidence.KindGap}}); !errors.Is(err, evidence.ErrBroken) {
		t.Errorf("an append after that: %v", err)
	}
}

// What a witness may answer that is no signature: none of it ends the log.
func TestWitnessThatDoesNotSign(t *testing.T) {
	w, s := newWitness(t)
	l := open(t, evidence.Options{Origin: origin("a")})
	l.grow(t, 1)
	c := newTestCosigner(t, w, s, l.Log)
	msg := l.Checkpoint()
	if _, err := c.cosign(t.Context(), msg); err == nil || !strings.Contains(err.Error(), "does not know this log") {
		t.Errorf("unknown: %v", err)
	}
	w.knows(open(t, evidence.Options{Origin: origin("a"), Dir: filepath.Join(t.TempDir(), "other")}).Log)
	if _, err := c.cosign(t.Context(), msg); err == nil || !strings.Contains(err.Error(), "by another key") {
		t.Errorf("another key: %v", err)
	}
	for _, tt := range []struct {
		name         string
		status       int
		kind, answer string
		want         string
	}{
		{"a broken proxy", 502, "text/html", "<html>", "status 502"},
		{"no signature", 200, "", "", "no good signature"},
		{"a signature of nobody", 200, "", "— witness.example/w1 AAAAAAAA\n", "no good signature"},
		{"a page instead of a size", 409, "text/html", "<html>", "without the size it knows"},
		{"a size that is none", 409, sizeType, "-1\n", "without the size it knows"},
		{"the size it was asked with", 409, sizeType, "0\n", "again and again"},
		{"moved", 302, "", "", "status 302"},
		{"far too long", 200, "", strings.Repeat("x", maxAnswer+1), "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", tt.kind)
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(tt.status)
				_, _ = io.WriteString(rw, tt.answer)
			}))
			defer s.Close()
			c := newTestCosigner(t, w, s, l.Log)
			if err := c.Check(t.Context()); err != nil {
				t.Errorf("check: %v", err)
			}
			if _, err := c.cosign(t.Context(), msg); err == nil || againstLog(err) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

// A witness's key is taken in its one form only.
func TestCosignerKey(t *testing.T) {
	w, _ := newWitness(t)
	good := w.vkey()
	if v, err := newCosignatureVerifier(good + "\n"); err != nil || v.Name() != w.name {
		t.Errorf("%v %v", v, err)
	}
	_, logKey, err := note.GenerateKey(rand.Reader, "log")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", good[1:], good[:len(good)-4], strings.Replace(good, "w1+", "w2+", 1), logKey} {
		if _, err := newCosignatureVerifier(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
