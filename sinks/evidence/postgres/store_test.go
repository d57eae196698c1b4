package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

const origin = "example.net/evidence/test/1"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pod is an instance without a disk: of its directories only the one of its key lasts.
type pod struct {
	t      testing.TB
	s      *postgrestest.Server
	origin string
	key    string
	dir    string
	store  *Store
	log    *evidence.Log
	now    func() time.Time

	segment int64 // records of one
}

func newPod(t testing.TB, s *postgrestest.Server) *pod {
	t.Helper()
	return &pod{t: t, s: s, origin: origin, segment: 40, key: filepath.Join(t.TempDir(), "log.key")}
}

func clock() func() time.Time {
	t := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	return func() time.Time {
		t = t.Add(time.Millisecond)
		return t
	}
}

// try begins as a new pod does: with nothing but the database and the key.
func (p *pod) try(change func(*evidence.Options)) error {
	p.dir = filepath.Join(p.t.TempDir(), "evidence")
	var err error
	if p.store, err = Open(context.Background(), Options{DSN: p.s.DSN("evidence"), Origin: p.origin, Timeout: 20 * time.Second}); err != nil {
		return err
	}
	o := evidence.Options{Dir: p.dir, KeyFile: p.key, Origin: p.origin, Store: p.store, SegmentRecords: p.segment, Now: p.now}
	if change != nil {
		change(&o)
	}
	if err = p.store.WorkingCopy(context.Background(), p.dir); err == nil {
		p.log, err = evidence.Open(o)
	}
	if err != nil {
		return errors.Join(err, p.store.Close())
	}
	return nil
}

func (p *pod) start() *evidence.Log {
	p.t.Helper()
	if err := p.try(nil); err != nil {
		p.t.Fatal(err)
	}
	return p.log
}

func (p *pod) stop() {
	p.t.Helper()
	if err := errors.Join(p.log.Close(), p.store.Close()); err != nil {
		p.t.Fatal(err)
	}
}

// die is what is left to do of a process that is gone.
func (p *pod) die() {
	_ = p.log.Break(errors.New("the pod is gone"))
	_ = p.log.Close()
	_ = p.store.Close()
}

func id(n int) (id evidence.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func hits(first, n int) []evidence.Record {
	recs := make([]evidence.Record, n)
	for i := range recs {
		recs[i] = evidence.Record{ID: id(first + i), Kind: evidence.KindHit, Class: evidence.ClassContent,
			Body: fmt.Appendf(nil, `{"event_id":"e%d","text":"body %d"}`, first+i, first+i)}
	}
	return recs
}

func appendHits(t testing.TB, l *evidence.Log, first, n int) {
	t.Helper()
	if err := l.Append(context.Background(), hits(first, n)); err != nil {
		t.Fatal(err)
	}
}

// pull writes the log out and returns the directory.
func pull(t testing.TB, s *postgrestest.Server) string {
	t.Helper()
	ctx := context.Background()
	r, err := OpenReader(ctx, s.DSN("evidence"), origin)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	dir := filepath.Join(t.TempDir(), "pulled")
	if err := evidence.Pull(ctx, r, dir, "1"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// verifyOK verifies a directory and fails on an alarm. It returns how many times each
// record is there.
func verifyOK(t testing.TB, dir string) map[evidence.ID]int {
	t.Helper()
	r, err := evidence.Verify(dir, evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Verdict.Alarm() {
			t.Error(f)
		}
	}
	found := make(map[evidence.ID]int)
	if err := evidence.Walk(dir, nil, func(e evidence.Entry) error { found[e.ID]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

// tree reads all files below a directory.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What is pulled are the files that a log in a directory would have: the writer's own copy,
// byte for byte, through several segments, lives and seals; and it verifies.
func TestPulledFilesAreTheLogs(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	p.now = clock()
	n := 0
	for life := range 3 {
		l := p.start()
		for range 12 {
			appendHits(t, l, n, 7)
			n += 7
		}
		if life > 0 {
			if err := l.Seal(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		p.stop()
	}
	dir := pull(t, s)
	found := verifyOK(t, dir)
	for i := range n {
		if found[id(i)] != 1 {
			t.Fatalf("record %d is there %d times", i, found[id(i)])
		}
	}
	ours, theirs := tree(t, p.dir), tree(t, dir)
	compared := 0
	for name, b := range ours {
		if name == "working-copy" || strings.HasPrefix(name, "idx/") {
			continue
		}
		if theirs[name] != b {
			t.Errorf("%s: %d bytes, pulled %d bytes, not the same", name, len(b), len(theirs[name]))
		}
		compared++
	}
	for name := range theirs {
		if _, ok := ours[name]; !ok {
			t.Errorf("%s was pulled and is not in the working copy", name)
		}
	}
	if compared < 8 || s.Count(`select count(distinct file) from ev_body`) < 3 {
		t.Errorf("only %d files were compared: %v", compared, ours)
	}
	// Sealing has taken the bodies out of the frames.
	if n := s.Count(`select count(*) from ev_frame where position('body 3"'::bytea in frame) > 0`); n != 0 {
		t.Errorf("%d frames still have a body that was moved", n)
	}
}

// The same records in a log of files have the same verdicts, and the same bytes but for
// what is random or time.
func TestSameVerdictsAsFiles(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	p.now = clock()
	l := p.start()
	dir := filepath.Join(t.TempDir(), "evidence")
	files, err := evidence.Open(evidence.Options{Dir: dir, KeyFile: p.key, Origin: origin, SegmentRecords: 40, Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		appendHits(t, l, i*5, 5)
		appendHits(t, files, i*5, 5)
	}
	for _, l := range []*evidence.Log{l, files} {
		if err := l.Seal(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	var reports [2]string
	for i, dir := range []string{pull(t, s), dir} {
		r, err := evidence.Verify(dir, evidence.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var found []evidence.Finding
		for _, f := range r.Findings {
			if !strings.HasPrefix(f.File, "idx/") { // derived, and not kept in the database
				found = append(found, f)
			}
		}
		reports[i] = fmt.Sprintf("%d records, %d signed, %v, %v", r.Records, r.Signed, r.Kinds, found)
	}
	if reports[0] != reports[1] {
		t.Errorf("of the database:\n%s\nof files:\n%s", reports[0], reports[1])
	}
}

// A second writer is refused while the first one runs, and one whose lock was lost finds
// its place taken and goes no further.
func TestTwoWriters(t *testing.T) {
	s := postgrestest.New(t)
	a := newPod(t, s)
	l := a.start()
	appendHits(t, l, 0, 3)

	b := newPod(t, s)
	b.key = a.key
	if err := b.try(nil); !errors.Is(err, evidence.ErrLocked) {
		t.Fatalf("a second writer: %v", err)
	}

	// The first one's lock is lost, as behind a pooler that gives its connection to others.
	var held bool
	if err := a.store.frames.conn.QueryRow(context.Background(), `select pg_advisory_unlock($1, $2)`, int32(logClass), a.store.log).Scan(&held); err != nil || !held {
		t.Fatal(held, err)
	}
	b.start()
	appendHits(t, b.log, 3, 2)
	for name, err := range map[string]error{
		"bodies":  a.store.PutBodies("body/content/2026-03-01/x", strings.NewReader("x")),
		"destroy": a.store.RemoveBodies("body/content/2026-03-01/x"),
		"strip":   a.store.Strip(0, func(func(int64, int, []byte) error) error { return nil }),
	} {
		if !errors.Is(err, evidence.ErrForked) {
			t.Errorf("%s of the writer that was overtaken: %v", name, err)
		}
	}
	err := l.Append(context.Background(), hits(100, 1))
	if !errors.Is(err, evidence.ErrForked) || !errors.Is(err, evidence.ErrBroken) {
		t.Errorf("the writer that was overtaken: %v", err)
	}
	if err := l.Append(context.Background(), hits(100, 1)); !errors.Is(err, evidence.ErrBroken) {
		t.Errorf("and again: %v", err)
	}
	a.die()
	b.stop()
	found := verifyOK(t, pull(t, s))
	if found[id(100)] != 0 || found[id(4)] != 1 {
		t.Error(found)
	}
}

// A copy that another writer has made old does not open.
func TestOldCopy(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	appendHits(t, p.start(), 0, 3)
	p.stop()
	old := p.dir
	appendHits(t, p.start(), 3, 3)
	p.stop()
	store, err := Open(context.Background(), Options{DSN: s.DSN("evidence"), Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := evidence.Open(evidence.Options{Dir: old, KeyFile: p.key, Origin: p.origin, Store: store}); !errors.Is(err, evidence.ErrForked) {
		t.Errorf("an old copy: %v", err)
	}
	if _, err := evidence.Open(evidence.Options{Dir: old, KeyFile: p.key, Origin: origin}); err == nil || !strings.Contains(err.Error(), "a copy of a log that is kept in a database") {
		t.Errorf("a working copy without its store: %v", err)
	}
	pulled := pull(t, s)
	if _, err := evidence.Open(evidence.Options{Dir: pulled, KeyFile: p.key, Origin: origin}); err == nil || !strings.Contains(err.Error(), "a copy of a log that is kept in a database") {
		t.Errorf("a pulled log: %v", err)
	}
	files := filepath.Join(t.TempDir(), "evidence")
	l, err := evidence.Open(evidence.Options{Dir: files, Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := evidence.WorkingCopy(context.Background(), store, files, origin); err == nil || !strings.Contains(err.Error(), "a log of its own") {
		t.Errorf("a directory with a log as working copy: %v", err)
	}
}

// The connection goes in the middle: what was acknowledged is there, and the log takes
// nothing more before it is opened again.
func TestConnectionKilled(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	l := p.start()
	appendHits(t, l, 0, 5)
	s.Exec("evidence", `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'weir evidence'`)
	if err := l.Append(context.Background(), hits(5, 5)); !errors.Is(err, evidence.ErrBroken) {
		t.Fatalf("after the connection went: %v", err)
	}
	p.die()
	l = p.start()
	appendHits(t, l, 5, 5)
	p.stop()
	found := verifyOK(t, pull(t, s))
	for i := range 10 {
		if found[id(i)] == 0 {
			t.Errorf("record %d is lost", i)
		}
	}
}

// The server dies at any moment under a writer that does not stop: no acknowledged
// record is lost.
func TestServerKilled(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	acked := 0
	for round := range 3 {
		l := p.start()
		some := make(chan struct{})
		ended := make(chan int)
		go func() {
			for n := acked; ; n++ {
				if l.Append(context.Background(), hits(n, 1)) != nil {
					ended <- n
					return
				}
				if n == acked+20*(round+1) {
					close(some)
				}
			}
		}()
		<-some
		s.Stop(syscall.SIGKILL) // the next start recovers from the write-ahead log
		acked = <-ended
		p.die()
		s.Start()
	}
	p.start()
	p.stop()
	found := verifyOK(t, pull(t, s))
	for i := range acked {
		if found[id(i)] == 0 {
			t.Fatalf("record %d of %d was acknowledged and is lost", i, acked)
		}
	}
	if acked < 60 {
		t.Errorf("only %d records were acknowledged", acked)
	}
}

// A database that was restored from an older copy is refused by the head that others know.
func TestRestoredDatabase(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	appendHits(t, p.start(), 0, 5)
	p.stop()
	s.Exec("postgres", `create database backup template evidence`)
	appendHits(t, p.start(), 5, 5)
	p.stop()
	published := p.log.Checkpoint()
	s.Exec("postgres", `drop database evidence`)
	s.Exec("postgres", `alter database backup rename to evidence`)

	err := p.try(func(o *evidence.Options) { o.Published = [][]byte{published} })
	if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), "ROLLED BACK") {
		t.Errorf("an older database: %v", err)
	}
	// And one that has gone another way since, by the same head.
	appendHits(t, p.start(), 50, 9)
	p.stop()
	err = p.try(func(o *evidence.Options) { o.Published = [][]byte{published} })
	if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), "FORK") {
		t.Errorf("a database that forked: %v", err)
	}
}

// Who can write the database and has no key cannot change the log unseen.
func TestTampered(t *testing.T) {
	s := postgrestest.New(t)
	p := newPod(t, s)
	l := p.start()
	for i := range 4 {
		appendHits(t, l, i*3, 3)
	}
	p.stop()
	published := p.log.Checkpoint()
	s.Exec("postgres", `alter database evidence rename to good`)
	key := p.key
	for name, c := range map[string]struct{ sql, want string }{
		"frame removed":       {`delete from ev_frame where first_index = 4`, "MISSING"},
		"last frame removed":  {`delete from ev_frame where first_index = (select max(first_index) from ev_frame)`, "ROLLED BACK"},
		"bit flipped":         {`update ev_frame set frame = set_byte(frame, 40, get_byte(frame, 40) # 1) where first_index = 4`, "ALTERED"},
		"frames swapped":      {`update ev_frame a set frame = b.frame from ev_frame b where a.first_index in (1, 4) and b.first_index = 5 - a.first_index`, "ALTERED"},
		"last head removed":   {`delete from ev_head where size = (select max(size) from ev_head)`, ""},
		"all heads removed":   {`delete from ev_head`, "MISSING"},
		"head changed":        {`update ev_head set checkpoint = set_byte(checkpoint, 60, get_byte(checkpoint, 60) # 1) where size = (select max(size) from ev_head)`, "ALTERED"},
		"everything deleted":  {`truncate ev_frame, ev_head`, "ROLLED BACK"},
		"row moved by number": {`update ev_frame set first_index = 1000 where first_index = 4`, "MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Exec("postgres", `create database evidence template good`)
			defer s.Exec("postgres", `drop database evidence`)
			p := newPod(t, s)
			p.key = key
			s.Exec("evidence", c.sql)
			err := p.try(func(o *evidence.Options) { o.Published = [][]byte{published} })
			if c.want == "" {
				// The records are signed again; those who hold the head see that they are the same.
				if err != nil {
					t.Fatal(err)
				}
				p.stop()
				return
			}
			if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A server that may lose what it has acknowledged is refused.
func TestServerThatLoses(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `alter system set full_page_writes = off`)
	s.Exec("postgres", `select pg_reload_conf()`)
	s.Stop(syscall.SIGINT)
	s.Start()
	_, err := Open(context.Background(), Options{DSN: s.DSN("evidence"), Origin: origin})
	if err == nil || !strings.Contains(err.Error(), "full_page_writes") {
		t.Errorf("got %v", err)
	}
	// A database that acknowledges before it writes is told to do better, for these connections.
	s.Exec("postgres", `alter system reset full_page_writes`)
	s.Exec("postgres", `alter database evidence set synchronous_commit = off`)
	s.Stop(syscall.SIGINT)
	s.Start()
	store, err := Open(context.Background(), Options{DSN: s.DSN("evidence"), Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var value string
	if err := store.frames.conn.QueryRow(context.Background(), `show synchronous_commit`).Scan(&value); err != nil || value != "on" {
		t.Errorf("synchronous_commit is %q, %v", value, err)
	}
}

// A body file is put in the place of the one before, read in parts, and removed.
func TestBodyFiles(t *testing.T) {
	s := postgrestest.New(t)
	store, err := Open(context.Background(), Options{DSN: s.DSN("evidence"), Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const name = "body/content/2026-03-01/1-00000000000000000000.body"
	large := bytes.Repeat([]byte("0123456789"), partBytes/4)
	for _, content := range [][]byte{[]byte("small"), large} {
		if err := store.PutBodies(name, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		if err := store.Bodies(context.Background(), func(_ string, part []byte) error { got = append(got, part...); return nil }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("put %d bytes, got %d", len(content), len(got))
		}
	}
	if n := s.Count(`select count(*) from ev_body where class = 'content' and day = '2026-03-01'`); n != 3 {
		t.Errorf("%d parts of the class and day", n)
	}
	for range 2 {
		if err := store.RemoveBodies(name); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Count(`select count(*) from ev_body`); n != 0 {
		t.Errorf("%d parts are left", n)
	}
}

// The working copy has the logs of the instance's other generations, too, so that a log says what it
// follows, and their bodies are destroyed for good when they are due. Those of other instances are not in it.
func TestGenerations(t *testing.T) {
	s := postgrestest.New(t)
	ctx := context.Background()
	sealed := func(name string) *pod {
		p := newPod(t, s)
		p.now = clock()
		p.origin = name
		l := p.start()
		appendHits(t, l, 0, 100)
		if err := l.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		return p
	}
	sealed("example.net/evidence/other/1").stop()
	old := sealed(origin)
	head := old.log.Checkpoint()

	// The new generation begins while the process of the old one still runs.
	p := newPod(t, s)
	p.origin = "example.net/evidence/test/2"
	var follows *evidence.Previous
	if err := p.try(func(o *evidence.Options) {
		o.Previous = func() (*evidence.Previous, error) {
			f, err := evidence.Follow(p.dir, head)
			follows = f
			return f, err
		}
	}); err != nil {
		t.Fatal(err)
	}
	if follows == nil || follows.Why != evidence.FateKept {
		t.Errorf("the log says that it follows %+v, want one that was kept", follows)
	}
	first := fileWith(t, p.dir, "body/content/", "1-00000000000000000000.body")
	if got := tree(t, p.dir); got[first] != tree(t, old.dir)[first] {
		t.Errorf("%s in the copy is not the one of its generation", first)
	}
	if entries, err := os.ReadDir(filepath.Join(p.dir, "log")); err != nil || len(entries) != 2 {
		t.Errorf("the copy has the logs %v, %v; want generations 1 and 2 of one instance", entries, err)
	}
	if r, err := evidence.VerifyAll(p.dir, nil, evidence.VerifyOptions{}); err != nil || !r.OK() {
		t.Errorf("the copy does not verify: %v, %v", r, err)
	}
	if err := old.store.RemoveBodies(first); !errors.Is(err, evidence.ErrForked) {
		t.Errorf("the process of the old generation may still change bodies: %v", err)
	}
	old.die()

	// What is kept of a file for a hold is of the file's generation, and what is destroyed is gone also from the next copy.
	held := "body/hold/H-1/" + filepath.Base(first)
	if err := p.store.PutBodies(held, strings.NewReader("kept")); err != nil {
		t.Fatal(err)
	}
	if err := p.store.RemoveBodies(first); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if err := p.try(nil); err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	again := tree(t, p.dir)
	if _, ok := again[first]; ok {
		t.Errorf("%s was destroyed and is there again", first)
	}
	if again[held] != "kept" || tree(t, pull(t, s))[held] != "kept" {
		t.Errorf("%s is not where the log of its generation is", held)
	}
	if n := s.Count(`select count(*) from ev_body b join ev_log l using (log_id) where origin like '%/other/1'`); n == 0 {
		t.Error("bodies of another instance were destroyed")
	}
}

// fileWith returns the one file of a directory whose name begins and ends so.
func fileWith(t *testing.T, dir, prefix, suffix string) (name string) {
	t.Helper()
	for f := range tree(t, dir) {
		if strings.HasPrefix(f, prefix) && strings.HasSuffix(f, suffix) {
			if name != "" {
				t.Fatalf("%s has %s and %s", dir, name, f)
			}
			name = f
		}
	}
	if name == "" {
		t.Fatalf("%s has no %s...%s", dir, prefix, suffix)
	}
	return name
}
