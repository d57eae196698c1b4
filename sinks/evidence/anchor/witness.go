package anchor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// cosignatureEd25519 is the type of the keys and signatures of C2SP tlog-cosignature.
const cosignatureEd25519 = 0x04

// cosignatureVerifier implements note.Verifier for a witness.
type cosignatureVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

var errNoCosigner = errors.New("not the key of an Ed25519 cosigner; it is one line of the form <name>+<hash>+<key>, as the witness publishes it")

func newCosignatureVerifier(vkey string) (*cosignatureVerifier, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(vkey), "+")
	hash, key, _ := strings.Cut(rest, "+")
	data, err := base64.StdEncoding.DecodeString(key)
	sum, hexErr := hex.DecodeString(hash)
	if name == "" || err != nil || hexErr != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != cosignatureEd25519 {
		return nil, errNoCosigner
	}
	want := cosignerHash(name, data)
	if !bytes.Equal(sum, want[:4]) {
		return nil, errNoCosigner
	}
	return &cosignatureVerifier{name, binary.BigEndian.Uint32(sum), data[1:]}, nil
}

// cosignerHash begins with the hash that names a key.
func cosignerHash(name string, key []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(name+"\n"), key...))
}

// Name implements note.Verifier.
func (v *cosignatureVerifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *cosignatureVerifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier: sig is the time in seconds and a signature of
// it and of the checkpoint.
func (v *cosignatureVerifier) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return ed25519.Verify(v.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, msg), sig[8:])
}

// Cosigner has a witness sign the heads of a log, by C2SP tlog-witness. The witness
// remembers the largest head it has signed, and so finds out that a log was rolled back.
type Cosigner struct {
	url      string
	every    time.Duration
	verifier *cosignatureVerifier
	log      *evidence.Log
	logger   *slog.Logger

	old  int64 // the size the witness has signed, as far as is known
	done int64 // the size that is cosigned on record
	last atomic.Int64
}

// NewCosigner returns one for a log that is open. It asks nobody yet.
func NewCosigner(c WitnessConfig, log *evidence.Log, logger *slog.Logger, reg prometheus.Registerer) (*Cosigner, error) {
	v, err := newCosignatureVerifier(c.VerifierKey)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w := &Cosigner{url: strings.TrimSuffix(c.URL, "/") + "/add-checkpoint", every: c.Every, verifier: v, log: log, logger: logger}
	w.last.Store(time.Now().UnixNano())
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_evidence_unwitnessed_seconds",
		Help: "How long ago the witness last signed a head of the evidence log, or the process started.",
	}, func() float64 { return time.Since(time.Unix(0, w.last.Load())).Seconds() }))
	return w, nil
}

// What a witness says about a log that is not what it has signed.
var (
	errWitnessAhead = errors.New("ROLLED BACK")
	errWitnessFork  = errors.New("FORK")
)

func againstLog(err error) bool {
	return errors.Is(err, errWitnessAhead) || errors.Is(err, errWitnessFork)
}

// Check asks the witness before anything is appended whether the log agrees with
// what it has signed, and is an error if not. A witness that does not answer, or
// does not know the log, is only spoken of.
func (w *Cosigner) Check(ctx context.Context) error {
	_, err := w.cosign(ctx, w.log.Checkpoint())
	if againstLog(err) {
		return fmt.Errorf("%w: %w; put the log's newest files back, or, if they are lost, set evidence.generation to a name that was never used", evidence.ErrTampered, err)
	}
	if err != nil && ctx.Err() == nil {
		w.logger.Warn("the witness has not looked at the evidence log; it is asked again", "witness", w.verifier.name, "err", err)
	}
	return nil
}

// Run has the latest head cosigned again and again, if it has grown, and puts the
// cosigned one on record, until ctx ends. Its error is that the log is broken.
func (w *Cosigner) Run(ctx context.Context) error {
	t := time.NewTicker(w.every)
	defer t.Stop()
	for said := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		err := w.step(ctx)
		switch {
		case errors.Is(err, evidence.ErrBroken):
			return fmt.Errorf("witness: %w", err)
		case ctx.Err() != nil:
			return nil
		case againstLog(err):
			return w.log.Break(err)
		case err != nil && !said:
			w.logger.Warn("the witness does not sign; records are taken all the same; trying again", "witness", w.verifier.name, "err", err)
		}
		said = err != nil
	}
}

func (w *Cosigner) step(ctx context.Context) error {
	msg := w.log.Checkpoint()
	h, err := evidence.ParseCheckpoint(msg, "")
	if err != nil || h.Size == w.done {
		return err
	}
	cosigned, err := w.cosign(ctx, msg)
	if err != nil {
		return err
	}
	w.last.Store(time.Now().UnixNano())
	if err := record(ctx, w.log, evidence.KindAnchor, Body{Cosigned: []Cosigned{{w.verifier.name, string(cosigned)}}}); err != nil {
		return err
	}
	w.done = h.Size
	if n := w.log.Size(); n == h.Size+1 {
		w.done = n // nothing but that record: it need not be witnessed, or there would be no end
	}
	return nil
}

// sizeType is the type of an answer that says how far a witness has seen a log.
const sizeType = "text/x.tlog.size"

// cosign returns the checkpoint with the witness's signature beside the log's.
func (w *Cosigner) cosign(ctx context.Context, msg []byte) ([]byte, error) {
	h, err := evidence.ParseCheckpoint(msg, "")
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		request, err := w.request(h, msg)
		if err != nil {
			return nil, err
		}
		status, kind, answer, err := ask(ctx, http.MethodPost, w.url, "text/plain; charset=utf-8", request)
		if err != nil {
			return nil, err
		}
		switch status {
		case http.StatusOK:
			cosigned, err := w.join(msg, answer)
			if err == nil {
				w.old = h.Size
			}
			return cosigned, err
		case http.StatusConflict:
			size, err := strconv.ParseInt(strings.TrimSuffix(string(answer), "\n"), 10, 64)
			switch {
			case kind != sizeType && w.old == h.Size:
				return nil, w.fork(h)
			case kind != sizeType || err != nil || size < 0:
				return nil, errors.New("the witness answers 409 without the size it knows")
			case size > h.Size:
				return nil, fmt.Errorf("%w: the witness %s has signed a head of %d records of this log, %d are signed here", errWitnessAhead, w.verifier.name, size, h.Size)
			case size == w.old && size == h.Size:
				return nil, w.fork(h)
			case size == w.old || try == 2:
				return nil, errors.New("the witness answers 409 again and again: is there another who submits heads of this log?")
			}
			w.old = size
		case http.StatusUnprocessableEntity:
			return nil, w.fork(h)
		case http.StatusNotFound:
			return nil, errors.New("the witness does not know this log; have it configured with the origin and the verifier key (log.vkey)")
		case http.StatusForbidden:
			return nil, errors.New("the witness knows this log by another key")
		default:
			return nil, fmt.Errorf("the witness answers with status %d", status)
		}
	}
}

func (w *Cosigner) fork(h evidence.Head) error {
	return fmt.Errorf("%w: the witness %s has signed a head of %d records of this log that is not the beginning of the %d records here", errWitnessFork, w.verifier.name, w.old, h.Size)
}

// request is the body of add-checkpoint.
func (w *Cosigner) request(h evidence.Head, msg []byte) ([]byte, error) {
	b := fmt.Appendf(nil, "old %d\n", w.old)
	if w.old > 0 {
		proof, err := w.log.Prove(w.old, h.Size)
		if err != nil {
			return nil, err
		}
		b = append(b, proofLines(proof)...)
	}
	return append(append(b, '\n'), msg...), nil
}

// join puts the witness's good signatures beside the log's own.
func (w *Cosigner) join(msg, lines []byte) ([]byte, error) {
	logKey, err := note.NewVerifier(w.log.VerifierKey())
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(msg)
	for line := range bytes.Lines(lines) {
		one := append(bytes.Clone(msg), line...)
		n, err := note.Open(one, note.VerifierList(logKey, w.verifier))
		if err == nil && len(n.Sigs) == 2 {
			out = append(out, line...)
		}
	}
	if len(out) == len(msg) {
		return nil, fmt.Errorf("the answer has no good signature of %s", w.verifier.name)
	}
	return out, nil
}
