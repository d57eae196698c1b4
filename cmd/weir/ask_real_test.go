package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks"
)

// With a real Kafka and Redis, under load and told to stop in the middle of it: whoever was told that a post
// is flagged finds it on the topic of reviews under the id of the answer, and nobody was told anything else than
// a verdict or to come again.
func TestAskedOfRealServers(t *testing.T) {
	brokers, redis := os.Getenv("WEIR_TEST_KAFKA"), os.Getenv("WEIR_TEST_REDIS")
	if brokers == "" || redis == "" {
		t.Skip("needs a real Kafka and Redis: scripts/integration -run AskedOfRealServers ./cmd/weir")
	}
	for _, delivery := range []sinks.Delivery{sinks.AtLeastOnce, sinks.ExactlyOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			w := newAskLoad(t, brokers, redis, delivery)
			ask := func(body []byte) (map[string]any, int) {
				resp, err := w.client.Post(w.url, "application/json", bytes.NewReader(body))
				if err != nil {
					return nil, 0 // the listener has gone
				}
				text, err := io.ReadAll(resp.Body)
				if err := errors.Join(err, resp.Body.Close()); err != nil {
					return nil, 0
				}
				var m map[string]any
				if err := json.Unmarshal(text, &m); err != nil {
					t.Errorf("%s %s: %v", resp.Status, text, err)
				}
				return m, resp.StatusCode
			}
			push := fmt.Appendf(nil, `{"id":"%s","time":%q,"user":{"id":"u1"},"class":"service","channel":"app","fields":{"body":"your parcel"}}`, w.life, time.Now().UTC().Format(time.RFC3339))
			var ids []any
			for _, replay := range []any{nil, true} {
				m, status := ask(push)
				if status != http.StatusOK || m["decision"] != "allow" || m["push"].(map[string]any)["replay"] != replay {
					t.Fatalf("%d %v, want it allowed, replay %v", status, m, replay)
				}
				ids = append(ids, m["id"])
			}
			if ids[0] != ids[1] {
				t.Errorf("the same push has the ids %v", ids)
			}

			const flagged = 400
			var mu sync.Mutex
			told := make(map[string]bool)
			answered := make(chan struct{}, flagged)
			var wg sync.WaitGroup
			for i := range flagged {
				wg.Go(func() {
					m, status := ask(fmt.Appendf(nil, `{"id":"p%d","time":"2026-11-29T08:00:00Z","user":{"id":"u%d"},"fields":{"text":%q}}`, i, i, w.terms[i]))
					switch {
					case status == http.StatusOK && m["action"] == "review":
						mu.Lock()
						told[m["id"].(string)] = true
						mu.Unlock()
						answered <- struct{}{}
					case status != 0 && status != http.StatusServiceUnavailable:
						t.Errorf("%d %v", status, m)
					}
				})
			}
			for range 10 {
				<-answered
			}
			if err := w.daemon.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			select {
			case err := <-w.daemon.exited:
				if err != nil {
					t.Errorf("it ended with %v\n%s", err, w.daemon.log)
				}
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			for deadline := time.Now().Add(time.Minute); len(told) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%d were told to be flagged and are on no topic", len(told))
				}
				for _, r := range w.kafka.PollFetches(t.Context()).Records() {
					var m struct {
						ID string `json:"id"`
					}
					if err := json.Unmarshal(r.Value, &m); err != nil {
						t.Fatal(err)
					}
					delete(told, m.ID)
				}
			}
		})
	}
}
