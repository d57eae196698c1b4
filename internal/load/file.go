package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// maxFileBytes is how large a file of messages may be; all of it is held in memory.
const maxFileBytes = 256 << 20

// readDeck reads events, one a line, judges each, and hands them out in their order over
// and over. A line that the daemon could not read is an error: its id could not be made
// new, and nobody could say what became of it.
func readDeck(r io.Reader, set *rules.Set, events event.Config) (*deck, error) {
	d := new(deck)
	judge := pipeline.NewJudge(events)
	in := bufio.NewReaderSize(io.LimitReader(r, maxFileBytes+1), 1<<20)
	read := 0
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if read += len(line); read > maxFileBytes {
			return nil, fmt.Errorf("the file is larger than %d bytes; give a sample of it", maxFileBytes)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			c, bad := readCard(text, judge, set)
			if bad != nil {
				return nil, fmt.Errorf("line %d: %w", n, bad)
			}
			d.cards = append(d.cards, c)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(d.cards) == 0 {
		return nil, errors.New("the file holds no message; give one JSON object a line")
	}
	return d, nil
}

// readCard reads one event.
func readCard(text []byte, judge *pipeline.Judge, set *rules.Set) (card, error) {
	var e event.Event
	if _, err := judge.Judge(set, 0, nil, text, &e); err != nil {
		return card{}, fmt.Errorf("not a message that can be judged: %w", err)
	}
	if e.Kind != event.Post && e.Kind != event.Push {
		return card{}, fmt.Errorf("a message of kind %s; give posts and pushes only", e.Kind)
	}
	c := card{kind: e.Kind, user: string(e.User.ID)}
	judge.Reset()
	// The judge has seen that each name is there once.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return card{}, fmt.Errorf("not a JSON object: %w", err)
	}
	delete(members, "id")
	delete(members, "time")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		c.rest = append(append(append(append(c.rest, ','), quote(name)...), ':'), members[name]...)
	}
	c.rest = append(c.rest, '}')
	return c, c.expect(judge, set, text)
}

// kinds reports whether there are posts and pushes among the cards.
func (d *deck) kinds() (posts, pushes bool) {
	for i := range d.cards {
		posts = posts || d.cards[i].kind == event.Post
		pushes = pushes || d.cards[i].kind == event.Push
	}
	return posts, pushes
}
