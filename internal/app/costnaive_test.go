package app_test

import (
	"context"
	"encoding/json"
	"os"
	"sync/atomic"
	"time"

	"github.com/cloudflare/ahocorasick"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The programs in this file are what one would write first: a consumer of a
// group, encoding/json into a struct, cloudflare/ahocorasick on the texts as
// they stand, a message to reviewers for what was found, and a commit after it
// is there. They have no fold, no spans, no evidence, no account and no metrics,
// let the first broken post end them, and are one goroutine. Settings are those
// of the libraries where it is not said why not.

// naivePost is a post as docs/inputs.md has it.
type naivePost struct {
	ID        string            `json:"id"`
	Kind      string            `json:"kind"`
	Time      time.Time         `json:"time"`
	User      naiveUser         `json:"user"`
	Operation string            `json:"operation"`
	Fields    map[string]string `json:"fields"`
	Client    struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
		Device  struct {
			ID  string `json:"id"`
			App string `json:"app"`
		} `json:"device"`
	} `json:"client"`
}

type naiveUser struct {
	ID       string `json:"id"`
	Group    string `json:"group"`
	Verified bool   `json:"verified"`
}

// naiveReview is what reviewers get.
type naiveReview struct {
	ID     string            `json:"id"`
	Time   time.Time         `json:"time"`
	User   naiveUser         `json:"user"`
	Hits   []string          `json:"hits"`
	Fields map[string]string `json:"fields"`
}

// naiveJudge finds the terms in posts.
type naiveJudge struct {
	terms   []string
	matcher *ahocorasick.Matcher
}

func newNaiveJudge(j *job) (*naiveJudge, error) {
	set, err := load(os.DirFS(j.Rules))
	if err != nil {
		return nil, err
	}
	n := new(naiveJudge)
	for _, r := range set.Rules() {
		n.terms = append(n.terms, r.Terms()...)
	}
	n.matcher = ahocorasick.NewStringMatcher(n.terms)
	return n, nil
}

// judge returns the key and the value of a message to reviewers, or nothing.
func (n *naiveJudge) judge(message []byte) (key, value []byte, err error) {
	var p naivePost
	if err := json.Unmarshal(message, &p); err != nil {
		return nil, nil, err
	}
	var hits []string
	for _, text := range p.Fields {
		for _, i := range n.matcher.Match([]byte(text)) {
			hits = append(hits, n.terms[i])
		}
	}
	if len(hits) == 0 {
		return nil, nil, nil
	}
	value, err = json.Marshal(naiveReview{ID: p.ID, Time: p.Time, User: p.User, Hits: hits, Fields: p.Fields})
	return []byte(p.User.ID), value, err
}

// naiveFranz polls, sends what was found, waits for it, and has the client commit
// each second what was polled before the last poll.
func naiveFranz(ctx context.Context, j *job, m *meter) error {
	judge, err := newNaiveJudge(j)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.ConsumerGroup(newGroup()), kgo.ConsumeTopics(j.Posts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	for {
		polled := cl.PollFetches(ctx)
		if err := polled.Err(); err != nil {
			return err
		}
		n := 0
		for records := polled.RecordIter(); !records.Done(); n++ {
			key, value, err := judge.judge(records.Next().Value)
			if err != nil {
				return err
			}
			if value == nil {
				continue
			}
			cl.Produce(ctx, &kgo.Record{Topic: j.Review, Key: key, Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
		if err := cl.Flush(ctx); err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		if n > 0 {
			m.count(n)
		}
		select {
		case <-m.done:
			return nil
		default:
		}
	}
}

// naiveBatch is how many posts naiveReader takes before it writes what was found
// and commits. One after another would cost a round trip for each flagged post.
const naiveBatch = 1000

// naiveReader takes one post after another of the Reader, writes what was found
// in a thousand of them and then commits them.
func naiveReader(ctx context.Context, j *job, m *meter) error {
	judge, err := newNaiveJudge(j)
	if err != nil {
		return err
	}
	r := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: j.Brokers, GroupID: newGroup(), Topic: j.Posts, StartOffset: kafkago.FirstOffset,
		CommitInterval: time.Second, // by default a commit is a round trip
	})
	w := &kafkago.Writer{
		Addr: kafkago.TCP(j.Brokers...), Topic: j.Review, Balancer: &kafkago.Hash{}, RequiredAcks: kafkago.RequireAll,
		BatchTimeout: 10 * time.Millisecond, // by default a second, which each call of WriteMessages would wait
	}
	taken, found := make([]kafkago.Message, 0, naiveBatch), []kafkago.Message(nil)
	for {
		x, err := r.FetchMessage(ctx)
		if err != nil {
			return err
		}
		key, value, err := judge.judge(x.Value)
		if err != nil {
			return err
		}
		if value != nil {
			found = append(found, kafkago.Message{Key: key, Value: value})
		}
		if taken = append(taken, x); len(taken) < naiveBatch {
			continue
		}
		if len(found) > 0 {
			if err := w.WriteMessages(ctx, found...); err != nil {
				return err
			}
		}
		if err := r.CommitMessages(ctx, taken...); err != nil {
			return err
		}
		m.count(len(taken))
		taken, found = taken[:0], found[:0]
		select {
		case <-m.done:
			return nil // Close would wait for its polls
		default:
		}
	}
}
