package status

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// maxClients is how many browsers may be open at once. Each costs a connection and a page of some ten
// kilobytes every five seconds.
const maxClients = 32

// hub tells browsers of snapshots. Nobody waits for a browser: one that has not taken the last snapshot when the
// next one comes is dropped, and comes back by itself.
type hub struct {
	mu      sync.Mutex
	clients map[chan *Snapshot]bool
	closed  bool
}

func newHub() *hub { return &hub{clients: make(map[chan *Snapshot]bool)} }

// join returns where snapshots come; it is closed when there will be no more. nil: there are too many.
func (h *hub) join() chan *Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.clients) >= maxClients {
		return nil
	}
	c := make(chan *Snapshot, 1)
	h.clients[c] = true
	return c
}

func (h *hub) leave(c chan *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clients, c)
}

func (h *hub) publish(s *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		select {
		case c <- s:
		default:
			delete(h.clients, c)
			close(c)
		}
	}
}

// close ends all, and refuses whoever comes.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.clients {
		close(c)
	}
	clear(h.clients)
}

// events sends the middle of the page each time there is a new snapshot, in the language of the page.
func (p *pages) events(w http.ResponseWriter, r *http.Request) {
	snapshots := p.monitor.hub.join()
	if snapshots == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many browsers look at this page, or it ends", http.StatusServiceUnavailable)
		return
	}
	defer p.monitor.hub.leave(snapshots)
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	l := languageOf(r)
	send := func(text string) error {
		// Who does not read this in time is gone, or as good as that.
		if err := rc.SetWriteDeadline(time.Now().Add(2 * Every)); err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return rc.Flush()
	}
	if send("retry: 3000\n\n") != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case s, ok := <-snapshots:
			if !ok {
				return
			}
			text, err := p.fragment(s, l)
			if err != nil || send(event(text)) != nil {
				return
			}
		}
	}
}

// event writes a text as one server-sent event.
func event(text []byte) string {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	b.WriteString("\n")
	return b.String()
}
