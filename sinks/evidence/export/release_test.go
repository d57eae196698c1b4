//go:build unix

package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Records are found by all that a query may name, whether the log is in clear, encrypted or sealed.
//
// Clause: rn-query
func TestFind(t *testing.T) {
	for _, how := range []string{"clear", "encrypted", "sealed", "without an index"} {
		w := full(t, how != "clear")
		at := w.now
		if how == "sealed" || how == "without an index" {
			w.seal()
			w.append(hit("e4", "alice", "illegal.drugs", "d-2", "late"))
		} else {
			w.append(hit("e4", "alice", "illegal.drugs", "d-2", "late"))
		}
		w.close()
		if how == "without an index" {
			if err := os.RemoveAll(w.dir + "/idx"); err != nil {
				t.Fatal(err)
			}
		}
		last := int64(11)
		if how == "sealed" || how == "without an index" {
			last++ // the seal
		}
		for name, tt := range map[string]struct {
			q    Query
			want []int64
		}{
			"id":                     {Query{IDs: []evidence.ID{{0, 3, 0xee}}}, []int64{3}},
			"id twice":               {Query{IDs: []evidence.ID{{0, 4, 0xee}, {0, 3, 0xee}, {0, 4, 0xee}}}, []int64{3, 4}},
			"id of nothing":          {Query{IDs: []evidence.ID{{9}}}, nil},
			"event":                  {Query{Event: "e2"}, []int64{4}},
			"subject":                {Query{Subject: "alice"}, []int64{3, 7, last}},
			"subject, by scanning":   {Query{Subject: "alice", Scan: true}, []int64{3, 7, last}},
			"nobody":                 {Query{Subject: "alic"}, nil},
			"category":               {Query{Category: "illegal.drugs"}, []int64{4, 7, last}},
			"rule":                   {Query{Rule: "d-1"}, []int64{4, 7}},
			"subject and category":   {Query{Subject: "alice", Category: "illegal.drugs"}, []int64{7, last}},
			"subject and rule, none": {Query{Subject: "bob", Rule: "g-1"}, nil},
			"subject and time":       {Query{Subject: "alice", To: at}, []int64{3, 7}},
			"kind":                   {Query{Kinds: []evidence.Kind{evidence.KindGap, evidence.KindHold}}, []int64{6, 9}},
			"time":                   {Query{From: at, To: at.Add(1)}, []int64{10}},
			"id and another kind":    {Query{IDs: []evidence.ID{{0, 3, 0xee}}, Kinds: []evidence.Kind{evidence.KindPush}}, nil},
		} {
			t.Run(how+", "+name, func(t *testing.T) {
				w.t = t
				found, err := w.source().find(&tt.q)
				if err != nil {
					t.Fatal(err)
				}
				var got []int64
				for _, f := range found.list {
					got = append(got, f.Index)
					if f.Fate != FateOK || f.Reading == nil {
						t.Errorf("record %d: %s, %s", f.Index, f.Fate, f.Reading)
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		}
	}
}

// Without keys nothing is shown of what is encrypted, and it is not taken for gone.
func TestFindWithoutKeys(t *testing.T) {
	w := full(t, true)
	w.close()
	s, err := Open(w.dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := s.find(&Query{IDs: []evidence.ID{{0, 3, 0xee}}})
	if err != nil || len(found.list) != 1 || found.list[0].Fate != FateClosed || found.list[0].Plain != nil {
		t.Errorf("%+v, %v", found, err)
	}
}

// A query for too much is refused before anything is on record, and so is one for everything.
func TestFindRefuses(t *testing.T) {
	w := full(t, true)
	w.close()
	for want, q := range map[string]Query{
		"which records?":            {},
		"ends before it begins":     {From: w.now, To: w.now},
		"more than 1 records match": {Subject: "alice", Limit: 1},
	} {
		r := w.order(q).Request
		err := w.source().Release(t.Context(), r, func(context.Context, evidence.Kind, any) (int64, evidence.ID, error) {
			t.Error("recorded")
			return 0, evidence.ID{}, nil
		}, func([]Found) error { t.Error("shown"); return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What would not fit into memory is refused, also if the records are few.
func TestFindIsBounded(t *testing.T) {
	w := full(t, true)
	w.close()
	s := w.source()
	s.maxBytes = 100
	if _, err := s.find(&Query{Subject: "alice"}); err == nil || !strings.Contains(err.Error(), "more than 100 bytes; ask for less, such as a day at a time") {
		t.Errorf("%v", err)
	}
}

// accesses returns the access records of a log, without the one that it begins with.
func (w *world) accesses() (list []AccessBody) {
	w.t.Helper()
	err := evidence.Walk(w.dir, nil, func(e evidence.Entry) error {
		if e.Kind != evidence.KindAccess {
			return nil
		}
		var b AccessBody
		list = append(list, b)
		return json.Unmarshal(e.Body, &list[len(list)-1])
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list[1:]
}

// What is shown is on record before: who, why, by what right, what was asked for and how much it was. The
// record does not name the user.
//
// Clause: rn-use
func TestReleaseIsOnRecordFirst(t *testing.T) {
	w := full(t, true)
	w.close()
	r := w.order(Query{Subject: "alice", Category: "illegal.drugs"}).Request
	r.Content = true
	shown := 0
	err := w.source().Release(t.Context(), r, w.record, func(list []Found) error {
		shown++
		got := w.accesses()
		if len(got) != 1 || got[0].Who != r.Who || got[0].Purpose != r.Purpose || got[0].Basis != r.Basis || got[0].Records != 1 || len(list) != 1 ||
			!got[0].Scope.Content || got[0].Scope.Category != "illegal.drugs" || got[0].Scope.Subject != fmt.Sprintf("%016x", w.ring.Term("content", "account", "alice")) {
			t.Errorf("%d shown, on record: %+v", len(list), got)
		}
		if text := fmt.Sprint(got); strings.Contains(text, "alice") {
			t.Errorf("the record names the user: %s", text)
		}
		return nil
	})
	if err != nil || shown != 1 {
		t.Errorf("shown %d times, %v", shown, err)
	}
}

// Where the record fails, nothing is shown: also where it may have been written.
//
// Clause: rn-use
func TestNothingIsShownOffTheRecord(t *testing.T) {
	w := full(t, true)
	w.close()
	broken := errors.New("broken")
	show := func([]Found) error { t.Error("shown"); return nil }
	r := w.order(Query{Subject: "alice"}).Request
	for _, record := range []Append{
		func(context.Context, evidence.Kind, any) (int64, evidence.ID, error) { return 0, evidence.ID{}, broken },
		func(ctx context.Context, k evidence.Kind, b any) (int64, evidence.ID, error) {
			index, id, err := w.record(ctx, k, b)
			return index, id, errors.Join(err, broken)
		},
	} {
		if err := w.source().Release(t.Context(), r, record, show); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
	for _, spoil := range []func(*Request){func(r *Request) { r.Who = " " }, func(r *Request) { r.Purpose = "" }, func(r *Request) { r.Basis = "\n" }} {
		r := r
		spoil(&r)
		if err := w.source().Release(t.Context(), r, w.record, show); err == nil || !strings.Contains(err.Error(), "given; nothing is shown without it") {
			t.Errorf("%v", err)
		}
	}
	if got := w.accesses(); len(got) != 1 { // the one that may have been written, and was
		t.Errorf("%+v", got)
	}
}

// killedDir is the log that a process of its own reads and dies over.
const killedDir = "WEIR_TEST_EXPORT_DIR"

// TestReleaseInAProcess is the process of TestKilledBetweenRecordAndShow.
func TestReleaseInAProcess(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		t.Skip("part of another test")
	}
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, n: 200}
	w.now = w.now.AddDate(2030, 0, 0)
	w.ring = nil // an access record is written in clear
	s, err := Open(dir, "", ring)
	if err != nil {
		t.Fatal(err)
	}
	die := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	r := Request{Query: Query{Subject: "alice"}, Who: "w", Purpose: "p", Basis: "b", Content: true}
	when := os.Getenv("WEIR_TEST_EXPORT_WHEN")
	err = s.Release(t.Context(), r, func(ctx context.Context, k evidence.Kind, b any) (int64, evidence.ID, error) {
		if when == "before" {
			die()
		}
		index, id, err := w.record(ctx, k, b)
		if when == "between" {
			die()
		}
		return index, id, err
	}, func(list []Found) error {
		fmt.Printf("%s\n", list[0].Plain)
		die()
		return nil
	})
	t.Fatal("it outlived its death", err)
}

// A process that is killed has shown nothing that is not on record, whenever it is killed.
//
// Clause: rn-use
func TestKilledBetweenRecordAndShow(t *testing.T) {
	for when, want := range map[string]struct {
		records int
		shown   bool
	}{"before": {0, false}, "between": {1, false}, "after the first record": {1, true}} {
		t.Run(when, func(t *testing.T) {
			w := full(t, true)
			w.close()
			cmd := exec.Command(os.Args[0], "-test.run=^TestReleaseInAProcess$")
			cmd.Env = append(os.Environ(), killedDir+"="+w.dir, "WEIR_TEST_EXPORT_WHEN="+when)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if err == nil || !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("%v\n%s%s", err, out.Bytes(), errs.Bytes())
			}
			if got := w.accesses(); len(got) != want.records {
				t.Errorf("%d on record, want %d", len(got), want.records)
			}
			if shown := out.Len() > 0; shown != want.shown || shown && !strings.Contains(out.String(), "bets") {
				t.Errorf("shown: %q", out.Bytes())
			}
		})
	}
}

// Keys that the log says were destroyed are not used, although a copy brought them back.
func TestErased(t *testing.T) {
	w := full(t, true)
	handles, err := w.ring.Find("alice")
	if err != nil || len(handles) == 0 {
		t.Fatalf("%v, %v", handles, err)
	}
	w.append(statement(evidence.KindShred, evidence.ClassAudit, map[string]any{"handles": []string{handles[0].String()}}))
	w.close()
	erased, err := desk.Erased(w.dir)
	if err != nil || !slices.Equal(erased, handles[:1]) {
		t.Fatalf("%v, %v; want %v", erased, err, handles)
	}
	ring, err := evidence.OpenKeys(w.dir, keys.Options{ReadOnly: true, Erased: erased})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	s, err := Open(w.dir, "", ring)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := s.find(&Query{Kinds: []evidence.Kind{evidence.KindHit}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found.list {
		got = append(got, f.Fate)
	}
	if want := []string{"erased (see #11)", "ok", "erased (see #11)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
