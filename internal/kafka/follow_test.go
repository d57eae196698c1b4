package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is written after a topic is followed is handed out, once and of all partitions;
// what was there before is not. It is known when everything up to some ends was.
func TestFollow(t *testing.T) {
	e := setup(t, 2)
	topic := e.topic(2)
	now := time.Now()
	e.put(topic, 0, "k", []byte("before"), now)
	e.put(topic, 1, "k", []byte("before"), now)
	f, err := e.client.OpenFollow(e.context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ends := func() []Range {
		t.Helper()
		list, err := e.client.Ends(e.context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if !f.Reached(ends()) {
		t.Error("what was there before is waited for")
	}
	ctx, cancel := context.WithCancel(e.context())
	defer cancel()
	var mu sync.Mutex
	var got []string
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, func(b *Batch) {
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Records {
				got = append(got, fmt.Sprintf("%d:%s", b.Partition, b.Records[i].Value))
			}
		})
	}()
	var want []string
	for i := range 20 {
		e.put(topic, int32(i%2), "k", fmt.Appendf(nil, "%02d", i), now)
		want = append(want, fmt.Sprintf("%d:%02d", i%2, i))
	}
	end := ends()
	for deadline := time.Now().Add(time.Minute); !f.Reached(end); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ends are not reached")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +handed out:\n%s", diff)
	}
	if _, err := e.client.OpenFollow(e.context(), "weir-no-such-topic"); err == nil {
		t.Error("a topic that is not there is followed")
	}
}
