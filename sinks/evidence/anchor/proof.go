package anchor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// The paths under which an instance tells about its log. They reveal a head and
// hashes, nothing of any record.
const (
	checkpointPath  = "/-/evidence/checkpoint"
	consistencyPath = "/-/evidence/consistency/"
)

// Serve has a mux answer about a log, read-only:
//
//	GET /-/evidence/checkpoint                 the latest signed head
//	GET /-/evidence/consistency/<from>/<to>    the proof that the first <from> records are the
//	                                           beginning of the first <to>: hashes in base64, a line each
func Serve(mux *http.ServeMux, log *evidence.Log) {
	text := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
	}
	mux.HandleFunc("GET "+checkpointPath, func(w http.ResponseWriter, _ *http.Request) {
		text(w)
		_, _ = w.Write(log.Checkpoint())
	})
	mux.HandleFunc("GET "+consistencyPath+"{from}/{to}", func(w http.ResponseWriter, r *http.Request) {
		from, err := strconv.ParseInt(r.PathValue("from"), 10, 64)
		to, toErr := strconv.ParseInt(r.PathValue("to"), 10, 64)
		if err != nil || toErr != nil {
			http.Error(w, "sizes are two decimal numbers: "+consistencyPath+"<from>/<to>", http.StatusBadRequest)
			return
		}
		proof, err := log.Prove(from, to)
		switch {
		case errors.Is(err, evidence.ErrNotSigned):
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		case err != nil:
			http.Error(w, "the proof cannot be made; the log says why", http.StatusInternalServerError)
			return
		}
		text(w)
		_, _ = io.WriteString(w, proofLines(proof))
	})
}

// proofLines is a proof as C2SP tlog-witness writes it.
func proofLines(proof []tlog.Hash) string {
	var b strings.Builder
	for _, h := range proof {
		b.WriteString(h.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// maxProof is how many hashes a proof may have, by C2SP tlog-witness.
const maxProof = 63

// askTimeout is how long another instance, a witness or an authority may take.
const askTimeout = 5 * time.Second

// maxAnswer is the largest answer that is read.
const maxAnswer = 64 << 10

// ask sends a request and returns status, type and body of the answer. It follows
// no redirects: who was named in the configuration is who answers.
func ask(ctx context.Context, method, url, contentType string, body []byte) (status int, kind string, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = errors.New("its answer is too long")
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, err
}

// get asks another instance.
func get(ctx context.Context, peer *admin.Client, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := peer.Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("it answers %s", resp.Status)
	case len(text) > maxAnswer:
		return "", errors.New("its answer is too long")
	}
	return string(text), nil
}

// askOrigin returns whose log an instance has.
func askOrigin(ctx context.Context, peer *admin.Client) (string, error) {
	msg, err := get(ctx, peer, checkpointPath)
	if err != nil {
		return "", err
	}
	h, err := evidence.ParseCheckpoint([]byte(msg), "")
	return h.Origin, err
}

// askProof returns an instance's proof that its log has only grown. What it says is
// yet to be checked.
func askProof(ctx context.Context, peer *admin.Client, from, to int64) ([]tlog.Hash, error) {
	text, err := get(ctx, peer, fmt.Sprintf("%s%d/%d", consistencyPath, from, to))
	if err != nil {
		return nil, err
	}
	var proof []tlog.Hash
	for line := range strings.Lines(text) {
		h, err := tlog.ParseHash(strings.TrimSuffix(line, "\n"))
		if err != nil || len(proof) == maxProof {
			return nil, errors.New("its answer is no proof")
		}
		proof = append(proof, h)
	}
	return proof, nil
}
