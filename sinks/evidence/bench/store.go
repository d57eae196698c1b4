package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// bodySize is about what a verdict on a post weighs.
const bodySize = 1024

// store makes batches of records durable.
type store struct {
	name string
	// open begins an empty store for loads of so many callers with so many records
	// each. add returns when n records are durable; end lets the store go.
	open func(dir string, callers, records int) (add func(n int) error, end func() error, err error)
}

func stores() []store {
	return []store{
		{"log, encrypted, 100,000 people", func(dir string, _, _ int) (func(int) error, func() error, error) { return openLog(dir, zipf()) }},
		{"log, encrypted, every record of a new person", func(dir string, _, _ int) (func(int) error, func() error, error) { return openLog(dir, newcomers()) }},
		{"log, not encrypted", func(dir string, _, _ int) (func(int) error, func() error, error) { return openLog(dir, nil) }},
		{"Tessera, POSIX", openTessera},
		{"a write and an fdatasync for each", openPlain},
	}
}

// people draws the numbers of those whom records are about.
type people func() func() int

// zipf is 100,000 people of whom few write much: the first writes every tenth record.
func zipf() people {
	return func() func() int {
		z := mathrand.NewZipf(mathrand.New(mathrand.NewPCG(mathrand.Uint64(), 1)), 1.07, 4, 100_000-1)
		return func() int { return int(z.Uint64()) }
	}
}

// newcomers are people nobody has heard of.
func newcomers() people {
	var n atomic.Int64
	return func() func() int { return func() int { return int(n.Add(1)) } }
}

// newRecords makes n records about people; their ids follow first.
func newRecords(first int64, n int, next func() int) []evidence.Record {
	recs := make([]evidence.Record, n)
	bodies := make([]byte, n*bodySize)
	for i := range recs {
		r := &recs[i]
		binary.BigEndian.PutUint64(r.ID[8:], uint64(first)+uint64(i))
		r.Kind, r.Class = evidence.KindHit, evidence.ClassContent
		r.Body, bodies = bodies[:bodySize], bodies[bodySize:]
		copy(r.Body, r.ID[:])
		if next == nil {
			continue
		}
		p := next()
		r.Subject = fmt.Sprint("user-", p)
		r.Terms = []evidence.Term{{Name: "event", Value: fmt.Sprint("event-", first+int64(i))}, {Name: "content", Value: fmt.Sprint("post-", first+int64(i))},
			{Name: "account", Value: r.Subject}, {Name: "device", Value: fmt.Sprint("device-", p)},
			{Name: "category", Value: fmt.Sprint("category-", i%9)}, {Name: "rule", Value: fmt.Sprint("rule-", i%200)}}
	}
	return recs
}

// openLog begins a log; it encrypts if who says whom its records are about.
func openLog(dir string, who people) (func(int) error, func() error, error) {
	o := evidence.Options{Dir: filepath.Join(dir, "evidence"), Origin: "bench/evidence/0/1"}
	closers := []func() error{}
	if who != nil {
		ring, err := keys.Open(filepath.Join(o.Dir, "keys"), keys.Options{})
		if err != nil {
			return nil, nil, err
		}
		o.Keys = ring
		closers = append(closers, ring.Close)
	}
	log, err := evidence.Open(o)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	closers = append(closers, log.Close, func() error { stop(); return <-done })
	var n atomic.Int64
	// A source of people for each caller: it is not what is measured.
	sources := sync.Pool{New: func() any {
		if who == nil {
			return (func() int)(nil)
		}
		return who()
	}}
	add := func(count int) error {
		next := sources.Get().(func() int)
		recs := newRecords(n.Add(int64(count)), count, next)
		sources.Put(next)
		return log.Append(ctx, recs)
	}
	return add, func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}, nil
}

// openTessera begins a log whose batches fit the load: it is not kept waiting for
// more records than there are.
func openTessera(dir string, callers, records int) (func(int) error, func() error, error) {
	ctx, stop := context.WithCancel(context.Background())
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(dir, "tessera")})
	if err != nil {
		stop()
		return nil, nil, err
	}
	secret, _, err := note.GenerateKey(rand.Reader, "bench")
	if err != nil {
		stop()
		return nil, nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		stop()
		return nil, nil, err
	}
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(time.Second).
		WithBatching(uint(min(callers*records, 4096)), 2*time.Millisecond).
		WithPushback(1<<20))
	if err != nil {
		stop()
		return nil, nil, err
	}
	var n atomic.Int64
	add := func(count int) error {
		first := n.Add(int64(count))
		futures := make([]tessera.IndexFuture, count)
		bodies := make([]byte, count*bodySize)
		for i := range futures {
			body := bodies[i*bodySize : (i+1)*bodySize]
			binary.BigEndian.PutUint64(body, uint64(first)+uint64(i))
			futures[i] = appender.Add(ctx, tessera.NewEntry(body))
		}
		for _, f := range futures {
			if _, err := f(); err != nil {
				return err
			}
		}
		return nil
	}
	return add, func() error {
		err := shutdown(ctx)
		stop()
		return err
	}, nil
}

// openPlain begins a file to which every record is written and synced by itself.
func openPlain(dir string, _, _ int) (func(int) error, func() error, error) {
	f, err := os.Create(filepath.Join(dir, "plain"))
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	body := make([]byte, bodySize)
	add := func(n int) error {
		for range n {
			mu.Lock()
			_, err := f.Write(body)
			if err == nil {
				err = unix.Fdatasync(int(f.Fd()))
			}
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	}
	return add, f.Close, nil
}
