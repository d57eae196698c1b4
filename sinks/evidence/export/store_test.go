package export

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// A package of a log that is kept in PostgreSQL has the same records and files as one of the
// same log in files, and is checked without Weir just so. What is pulled afterwards has on
// record that it was made, before and after.
func TestPackageOfALogInPostgreSQL(t *testing.T) {
	s := postgrestest.New(t)
	store, err := postgres.Open(t.Context(), postgres.Options{DSN: s.DSN("evidence"), Origin: testOrigin})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var lists [2][]string
	var records [2]int
	for i, st := range []evidence.Store{nil, store} {
		w := fullIn(t, true, st)
		w.seal()
		w.close()
		day := w.now.Truncate(24 * 3600e9)
		o := w.order(Query{From: day, To: day.AddDate(0, 0, 1)})
		records[i] = w.export(o).Records
		if out, code := tool(t, "sh", filepath.Join(o.Out, "data/verify/verify.sh"), pemFile(t, o.VerifierKey)); code != 0 || strings.Contains(out, "ALARM") {
			t.Errorf("exit %d\n%s", code, out)
		}
		err := filepath.WalkDir(o.Out, func(path string, _ fs.DirEntry, err error) error {
			name, _ := filepath.Rel(o.Out, path)
			lists[i] = append(lists[i], name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(lists[0], lists[1]) || records[0] != records[1] || records[0] < 10 {
		t.Errorf("%d and %d records\nof files      %v\nof PostgreSQL %v", records[0], records[1], lists[0], lists[1])
	}
	r, err := postgres.OpenReader(t.Context(), s.DSN("evidence"), testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	pulled := filepath.Join(t.TempDir(), "pulled")
	if err := evidence.Pull(t.Context(), r, pulled, "1"); err != nil {
		t.Fatal(err)
	}
	report, err := evidence.Verify(pulled, evidence.VerifyOptions{})
	if err != nil || !report.OK() || report.Kinds["export"] != 2 {
		t.Errorf("%v, kinds %v, findings %v", err, report.Kinds, report.Findings)
	}
}
