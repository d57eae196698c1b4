package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// IsPackage reports whether a path is that of a package, or of another bag: a directory
// with a bagit.txt, or a file.
func IsPackage(path string) bool {
	if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "bagit.txt"))
	return err == nil
}

// Verify checks a package, a directory or a .tar of one, as PACKAGE.md says, in the way of verify.py, which is in every
// package for who has no Weir: its files against the manifests, its signatures, its
// leaves against the signed head, every record against its leaf, and that what was
// asked for is there. vkeys are the public keys of the log and of who signed the
// package; for one that is missing the package's own is used, which whoever forged it
// could have put there.
//
// What third parties have signed of the log or of the package is checked with third: heads
// in the records of the package, lines beside the signed head, and time-stamps of the package
// in signatures/*.tsr.
//
// What was found is in the report. The error means that the package could not be
// checked.
func Verify(path string, vkeys []string, third evidence.ThirdParties) (_ *evidence.DirReport, err error) {
	in, err := openPackage(path)
	if err != nil {
		return nil, fmt.Errorf("verify package: %w", err)
	}
	defer func() { err = errors.Join(err, in.close()) }()
	c := &checker{in: in, given: vkeys, third: third, leaves: make(map[int64][]byte), rep: evidence.DirReport{Verdicts: make(map[evidence.Verdict]int64)},
		log: evidence.Report{Kinds: make(map[string]int64), Verdicts: make(map[evidence.Verdict]int64)}, used: make(map[string]bool)}
	c.rep.Logs = []*evidence.Report{&c.log}
	c.vouched.Expect(&third)
	for _, step := range []func() error{c.files, c.signed, c.head, c.tree, c.others, c.records, c.accounts, c.order, c.vouch, c.strays} {
		if err := step(); errors.Is(err, errStop) {
			break // what follows would say nothing
		} else if err != nil {
			return nil, fmt.Errorf("verify package: %w", err)
		}
	}
	for v, n := range c.log.Verdicts {
		c.rep.Verdicts[v] += n
	}
	c.log.Vouched = c.vouched.List()
	return &c.rep, nil
}

// errStop ends a verification whose next steps rest on what has failed.
var errStop = errors.New("the rest cannot be checked")

type checker struct {
	in    *contents
	given []string
	third evidence.ThirdParties
	rep   evidence.DirReport
	log   evidence.Report

	trust      trust
	x          extraction
	signedHead evidence.Head
	point      []byte // the checkpoint
	proof      rangeProof

	leaves    map[int64][]byte // of the range
	found     []checkedLine
	explained map[int64]checkedLine            // what is gone, by these records
	elsewhere map[string]map[int64]checkedLine // or by records of other logs, by generation
	unknown   []string                         // generations whose key was not given
	access    map[int64]checkedLine
	coverage  []checkedLine
	anchors   []checkedLine
	used      map[string]bool // files that a record needs
	vouched   evidence.Vouchers
}

// checkedLine is a record of the package whose leaf is in the log.
type checkedLine struct {
	line
	stored evidence.Stored
	plain  []byte // the body; nil if it is not here
}

func (c *checker) find(v evidence.Verdict, index int64, file, format string, args ...any) {
	f := evidence.Finding{Verdict: v, Index: index, File: file, Detail: fmt.Sprintf(format, args...)}
	if index >= 0 {
		f.Count = 1
	}
	if leaf := c.leaves[index]; leaf != nil {
		s := evidence.Stored{Leaf: [64]byte(leaf)}
		f.Time = s.Time()
	}
	c.rep.Find(f)
}

// stop is find for what the following steps rest on.
func (c *checker) stop(file, format string, args ...any) error {
	c.find(evidence.Altered, -1, file, format, args...)
	return errStop
}

// read returns a file of the package. One that is missing ends the verification.
func (c *checker) read(name string) ([]byte, error) {
	if !filepath.IsLocal(name) {
		return nil, c.stop(name, "it is no file of a package")
	}
	b, err := c.in.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c.stop(name, "it is not here")
	}
	return b, err
}

func (c *checker) load(name string, into any) error {
	b, err := c.read(name)
	if err == nil && json.Unmarshal(b, into) != nil {
		return c.stop(name, "it cannot be read")
	}
	return err
}

// files holds every file against the manifests.
func (c *checker) files() error {
	for _, name := range c.in.names() {
		if !c.in.files[name] {
			c.find(evidence.Altered, -1, name, "it is a link, which no package has")
		}
	}
	listed := make(map[string]string)
	for _, manifest := range []string{"manifest-sha256.txt", "tagmanifest-sha256.txt"} {
		b, err := c.read(manifest)
		if err != nil {
			return err
		}
		for l := range strings.Lines(string(b)) {
			sum, name, ok := strings.Cut(strings.TrimSuffix(l, "\n"), "  ")
			if _, twice := listed[name]; !ok || twice || !strings.HasSuffix(l, "\n") || strings.HasPrefix(name, payload) != (manifest[0] == 'm') {
				return c.stop(manifest, "a line should not stand there: %q", l)
			}
			listed[name] = sum
		}
	}
	size, count := int64(0), 0
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		sum := listed[name]
		if strings.HasPrefix(name, payload) {
			count++
		}
		if _, here := c.in.files[name]; !here {
			c.find(evidence.Missing, -1, name, "it is in the manifest and not here")
			continue
		}
		b, err := c.read(name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, payload) {
			size += int64(len(b))
		}
		if fmt.Sprintf("%x", sha256.Sum256(b)) != sum {
			c.find(evidence.Altered, -1, name, "it is not what the manifest says")
		}
	}
	for _, name := range c.in.names() {
		if _, ok := listed[name]; !ok && name != "tagmanifest-sha256.txt" && !strings.HasPrefix(name, "signatures/") {
			c.find(evidence.Altered, -1, name, "it is in no manifest")
		}
	}
	c.log.Bytes = size
	info, err := c.read("bag-info.txt")
	if err != nil {
		return err
	}
	if !bytes.Contains(info, fmt.Appendf(nil, "Payload-Oxum: %d.%d\n", size, count)) {
		c.find(evidence.Altered, -1, "bag-info.txt", "its Payload-Oxum does not count the files that are here")
	}
	bagit, err := c.read("bagit.txt")
	if err == nil && string(bagit) != "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n" {
		c.find(evidence.Altered, -1, "bagit.txt", "it is not that of BagIt 1.0")
	}
	return err
}

// signed checks who signed the package.
func (c *checker) signed() error {
	if err := c.load("data/extraction.json", &c.x); err != nil {
		return err
	}
	if err := c.load("data/keys/trust.json", &c.trust); err != nil {
		return err
	}
	c.log.Origin = c.trust.Origin
	logKey, err := c.key(c.trust.LogKey, c.trust.LogFile, c.given)
	if err != nil {
		return err
	}
	c.log.VerifierKey, c.log.KeyFromLog = logKey, len(c.given) == 0
	packageKey := c.trust.PackageKey
	if len(c.given) > 0 {
		if packageKey, err = c.key(c.trust.PackageKey, c.trust.PackageFile, c.given); err != nil {
			return err
		}
	}
	v, err := note.NewVerifier(packageKey)
	if err != nil {
		return c.stop("data/keys/trust.json", "the key of the package: %v", err)
	}
	msg, err := c.read("signatures/tagmanifest.note")
	if err != nil {
		return err
	}
	tags, err := c.read("tagmanifest-sha256.txt")
	if err != nil {
		return err
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return c.stop("signatures/tagmanifest.note", "the signature: %v", err)
	}
	if n.Text != fmt.Sprintf("%s\n%x\n%s\n", packageTag, sha256.Sum256(tags), c.trust.Origin) {
		return c.stop("signatures/tagmanifest.note", "the signature is of another package")
	}
	return nil
}

// key returns the key that the package names, which must be one of those given, if any
// are, and the one in its PEM file.
func (c *checker) key(vkey, file string, given []string) (string, error) {
	if len(given) > 0 && !slices.ContainsFunc(given, func(g string) bool { return strings.TrimSpace(g) == vkey }) {
		return "", c.stop("data/keys/trust.json", "the package names another key than was given")
	}
	pem, err := publicPEM(vkey)
	if err != nil {
		return "", c.stop("data/keys/trust.json", "%v", err)
	}
	b, err := c.read(payload + file)
	if err == nil && !bytes.Equal(b, pem) {
		return "", c.stop(payload+file, "it is another key than in trust.json")
	}
	return vkey, err
}

func (c *checker) logDir() string { return "data/log/" + path.Base(c.trust.Origin) + "/" }

// head reads the signed head that everything is proven against.
func (c *checker) head() (err error) {
	name := c.logDir() + "checkpoint"
	if c.point, err = c.read(name); err != nil {
		return err
	}
	if c.signedHead, err = evidence.ParseCheckpoint(c.point, c.log.VerifierKey); err != nil {
		return c.stop(name, "the signed head: %v", err)
	}
	if c.signedHead.Origin != c.trust.Origin {
		return c.stop(name, "the signed head is of another log than %s", c.trust.Origin)
	}
	c.log.Signed, c.log.Root, c.log.Heads = c.signedHead.Size, c.signedHead.Root.String(), 1
	return nil
}

// subtree is a complete part of the tree.
type subtree struct {
	level int
	hash  tlog.Hash
}

// forest takes complete parts of a tree from left to right.
type forest struct {
	parts []subtree
	size  int64
}

func (f *forest) add(p subtree) {
	f.size += 1 << p.level
	for n := len(f.parts); n > 0 && f.parts[n-1].level == p.level; n = len(f.parts) {
		p = subtree{p.level + 1, tlog.NodeHash(f.parts[n-1].hash, p.hash)}
		f.parts = f.parts[:n-1]
	}
	f.parts = append(f.parts, p)
}

func (f *forest) root() tlog.Hash {
	h := f.parts[len(f.parts)-1].hash
	for _, p := range slices.Backward(f.parts[:len(f.parts)-1]) {
		h = tlog.NodeHash(p.hash, h)
	}
	return h
}

// tree checks that the leaves are those of the tree that was signed.
func (c *checker) tree() error {
	name := c.logDir() + "range.json"
	if err := c.load(name, &c.proof); err != nil {
		return err
	}
	p := &c.proof
	if p.Origin != c.trust.Origin || p.Size != c.signedHead.Size || p.First < 0 || p.Next < p.First || p.Size < p.Next {
		return c.stop(name, "it is of another log or head")
	}
	b, err := c.read(c.logDir() + "leaves.bin")
	if err != nil {
		return err
	}
	const leafSize = 64
	if int64(len(b)) != leafSize*(p.Next-p.First) {
		return c.stop(c.logDir()+"leaves.bin", "it does not have the leaves that range.json says")
	}
	var f forest
	side := func(nodes []int64, hashes []string) bool {
		if len(nodes) != len(hashes) {
			return false
		}
		for i, x := range nodes {
			h, err := tlog.ParseHash(hashes[i])
			if err != nil {
				return false
			}
			level, _ := tlog.SplitStoredHashIndex(x)
			f.add(subtree{level, h})
		}
		return true
	}
	if !side(cover(0, p.First), p.Left) {
		return c.stop(name, "these are not the nodes that are needed")
	}
	var before time.Time
	for i := p.First; i < p.Next; i++ {
		leaf := b[:leafSize:leafSize]
		b = b[leafSize:]
		c.leaves[i] = leaf
		s := evidence.Stored{Leaf: [leafSize]byte(leaf)}
		if s.Time().Before(before) {
			c.find(evidence.Altered, i, c.logDir()+"leaves.bin", "it was recorded before the record before it")
		}
		before = s.Time()
		f.add(subtree{0, tlog.RecordHash(leaf)})
		c.log.Kinds[s.Kind().String()]++
	}
	c.log.Records = p.Next - p.First
	if !side(cover(p.Next, p.Size), p.Right) {
		return c.stop(name, "these are not the nodes that are needed")
	}
	if f.size != c.signedHead.Size || f.root() != c.signedHead.Root {
		return c.stop(c.logDir()+"leaves.bin", "the leaves do not have the root that was signed")
	}
	if p.Next > p.First {
		first, last := evidence.Stored{Leaf: [leafSize]byte(c.leaves[p.First])}, evidence.Stored{Leaf: [leafSize]byte(c.leaves[p.Next-1])}
		c.log.From, c.log.To = first.Time(), last.Time()
	}
	return nil
}

// inTree proves that the leaf is that of a record.
func (c *checker) inTree(t *proven, index int64, leaf []byte) bool {
	if have, ok := t.leaves[index]; ok {
		return bytes.Equal(have, leaf)
	}
	name := fmt.Sprintf("%sproofs/%d.tlog-proof", t.dir, index)
	b, err := c.read(name)
	if err != nil {
		return false
	}
	c.used[name] = true
	head, checkpoint, _ := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || lines[1] != fmt.Sprintf("index %d", index) || !bytes.Equal(checkpoint, t.point) {
		return false
	}
	var proof tlog.RecordProof
	for _, l := range lines[2:] {
		h, err := tlog.ParseHash(l)
		if err != nil {
			return false
		}
		proof = append(proof, h)
	}
	return tlog.CheckRecord(proof, t.head.Size, t.head.Root, index, tlog.RecordHash(leaf)) == nil
}

// lines checks a file of records.
func (c *checker) lines(name string) ([]checkedLine, error) {
	return c.linesOf(name, &proven{c.logDir(), c.signedHead, c.point, c.leaves})
}

func (c *checker) linesOf(name string, t *proven) ([]checkedLine, error) {
	b, err := c.read(name)
	if err != nil {
		return nil, err
	}
	var out []checkedLine
	before := int64(-1)
	for text := range bytes.Lines(b) {
		var l checkedLine
		if json.Unmarshal(text, &l.line) != nil || l.Index <= before || l.Index >= t.head.Size || len(l.Leaf) != len(l.stored.Leaf) {
			return nil, c.stop(name, "a record after %d is out of place", before)
		}
		before = l.Index
		l.stored.Leaf = [64]byte(l.Leaf)
		if !c.inTree(t, l.Index, l.Leaf) {
			c.find(evidence.Altered, l.Index, name, "its leaf is not the one in the log, or no proof leads to the signed root")
			return nil, errStop
		}
		if err := c.line(name, &l); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

var rulesFile = regexp.MustCompile(`^rules/[0-9a-f]+\.json$`)

// line checks one record against its leaf.
func (c *checker) line(name string, l *checkedLine) error {
	alarm := func(format string, args ...any) { c.find(evidence.Altered, l.Index, name, format, args...) }
	s := &l.stored
	encoding := "json"
	if s.Encoding() == evidence.EncodingProtobuf {
		encoding = "protobuf"
	}
	if l.ID != s.ID().String() || l.Kind != s.Kind().String() || l.Class != s.Class().String() || l.Time != stamp(s.Time()) || l.Encoding != encoding {
		alarm("id, kind, class, time or encoding are not those of its leaf")
	}
	switch {
	case l.File != "":
		if !rulesFile.MatchString(l.File) {
			return c.stop(name, "record %d: no file of rules", l.Index)
		}
		b, err := c.read(payload + l.File)
		if err != nil {
			return err
		}
		l.plain = b
		c.used[payload+l.File] = true
	case l.Salt != nil:
		l.plain = append([]byte{}, l.Body...)
	}
	if l.plain == nil {
		c.gone(name, l)
		return nil
	}
	if len(l.Salt) != 32 || !s.Intact(slices.Concat(l.Salt, l.plain)) {
		alarm("its body is not the one its leaf commits to")
		return nil
	}
	if l.Verdict != "ok" {
		alarm("its body is here, and the verdict is %q", l.Verdict)
	}
	if l.File != "" {
		return nil
	}
	want, err := reading(s.Kind(), s.Encoding(), l.plain)
	if err != nil || !sameJSON(l.Reading, want) {
		alarm("the reading is not what the body says")
	}
	return c.content(name, l, want)
}

// content checks the file with the message that a body holds.
func (c *checker) content(name string, l *checkedLine, reading json.RawMessage) error {
	var b struct {
		Original struct {
			Value []byte `json:"value"`
		} `json:"original"`
	}
	if json.Unmarshal(reading, &b) != nil {
		b.Original.Value = nil // a body that holds no message
	}
	if (b.Original.Value == nil) != (l.Content == "") {
		c.find(evidence.Altered, l.Index, name, "the message it holds should be under content/, and no other")
		return nil
	}
	if l.Content == "" {
		return nil
	}
	if l.Content != "content/"+l.stored.ID().String()+".bin" {
		return c.stop(name, "record %d: its content is in a file of another name", l.Index)
	}
	got, err := c.read(payload + l.Content)
	if err != nil {
		return err
	}
	c.used[payload+l.Content] = true
	if !bytes.Equal(got, b.Original.Value) {
		c.find(evidence.Altered, l.Index, payload+l.Content, "the message is not the one the body holds")
	}
	return nil
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

var goneAs = regexp.MustCompile(`^(destroyed|erased) \(see #(\d+)(?: of (\S+))?\)$`)

// gone checks that a record says why its body is not here.
func (c *checker) gone(name string, l *checkedLine) {
	if l.Reading != nil || l.Content != "" {
		c.find(evidence.Altered, l.Index, name, "what it says is here, and the body that proves it is not")
	}
	m := goneAs.FindStringSubmatch(l.Verdict)
	switch {
	case m != nil:
		n, err := strconv.ParseInt(m[2], 10, 64)
		want := map[string]evidence.Kind{"destroyed": evidence.KindDestroy, "erased": evidence.KindShred}[m[1]]
		by, which := c.explained[n], m[2]
		if m[3] != "" {
			by, which = c.elsewhere[m[3]][n], m[2]+" of "+m[3]
		}
		switch {
		case err == nil && c.explains(&by, l, want):
		case slices.Contains(c.unknown, m[3]):
			c.find(evidence.Missing, l.Index, name, "record %s is to say why its body is gone, and the key of that log is not among those given", which)
		default:
			c.find(evidence.Missing, l.Index, name, "record %s does not say why its body is gone", which)
		}
	case l.Verdict != "ok, body not opened" && l.Verdict != "erased":
		c.find(evidence.Missing, l.Index, name, "its body is gone, and no record says why")
	}
}

// records checks the files of records.
func (c *checker) records() error {
	c.explained = make(map[int64]checkedLine)
	for _, f := range []struct {
		name  string
		kinds []evidence.Kind
		take  func([]checkedLine)
	}{
		{"destroyed", []evidence.Kind{evidence.KindDestroyPlan, evidence.KindDestroy, evidence.KindDestroyed, evidence.KindShred, evidence.KindRestricted}, func(list []checkedLine) {
			for i := range list {
				c.explained[list[i].Index] = list[i]
			}
		}},
		{"holds", []evidence.Kind{evidence.KindHold, evidence.KindRelease}, func([]checkedLine) {}},
		{"coverage", []evidence.Kind{evidence.KindCoverage, evidence.KindGap}, func(list []checkedLine) { c.coverage = list }},
		{"anchors", nil, func(list []checkedLine) { c.anchors = list }},
	} {
		name := "data/" + f.name + ".jsonl"
		if _, here := c.in.files[name]; f.kinds == nil && !here {
			continue // nobody had signed anything
		}
		list, err := c.lines(name)
		if err != nil {
			return err
		}
		f.take(list)
		have := make(map[int64]bool)
		for i := range list {
			have[list[i].Index] = true
			if k := list[i].stored.Kind(); !slices.Contains(f.kinds, k) && (f.kinds != nil || k != evidence.KindAnchor && k != evidence.KindTimestamp) {
				c.find(evidence.Altered, list[i].Index, name, "a record of kind %s does not belong there", list[i].stored.Kind())
			}
		}
		for i, leaf := range c.leaves {
			if s := (evidence.Stored{Leaf: [64]byte(leaf)}); slices.Contains(f.kinds, s.Kind()) && !have[i] {
				c.find(evidence.Missing, i, name, "a %s record is not there", s.Kind())
			}
		}
	}
	access, err := c.lines("data/access.jsonl")
	if err != nil {
		return err
	}
	c.access = make(map[int64]checkedLine)
	for _, l := range access {
		c.access[l.Index] = l
	}
	if c.found, err = c.lines("data/records/records.jsonl"); err != nil {
		return err
	}
	for i := range c.found {
		word, _, _ := strings.Cut(c.found[i].Verdict, " (")
		c.log.Verdicts[evidence.Verdict(word)]++
	}
	rules, err := c.lines("data/rules.jsonl")
	for i := range rules {
		var b struct {
			Rules string `json:"rules"`
		}
		if json.Unmarshal(rules[i].plain, &b) != nil || rules[i].File != "rules/"+b.Rules+".json" {
			c.find(evidence.Altered, rules[i].Index, "data/rules.jsonl", "%s holds the rules of another digest", rules[i].File)
		}
	}
	return err
}

// accounts checks that the accounts add up and are those in the table.
func (c *checker) accounts() error {
	rows := [][]string{coverageColumns}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for i := range c.coverage {
		l := &c.coverage[i]
		begin := []string{number(l.Index), l.Time, l.Kind}
		if l.stored.Kind() == evidence.KindGap {
			var g evidence.GapBody
			if json.Unmarshal(l.plain, &g) != nil {
				return c.stop("data/coverage.jsonl", "record %d cannot be read", l.Index)
			}
			rows = append(rows, append(begin, g.Topic, number(int64(g.Partition)), number(g.First), number(g.Next), "", "", "", "", "", "", ""))
			continue
		}
		var b evidence.CoverageBody
		if json.Unmarshal(l.plain, &b) != nil {
			return c.stop("data/coverage.jsonl", "record %d cannot be read", l.Index)
		}
		for _, r := range b.Ranges {
			if err := r.Check(); err != nil {
				c.find(evidence.BadCoverage, l.Index, "data/coverage.jsonl", "%v", err)
			}
			c.log.Ledger.Fetched += r.Fetched
			c.log.Ledger.Passed += r.Passed
			c.log.Ledger.Flagged += r.Flagged
			c.log.Ledger.DeadLettered += r.DeadLettered
			c.log.Ledger.Skipped += r.Skipped
			rows = append(rows, append(slices.Clone(begin), r.Topic, number(int64(r.Partition)), number(r.First), number(r.Next), number(r.Fetched),
				number(r.Passed), number(r.Flagged), number(r.DeadLettered), number(r.Skipped), r.Rules, r.Policy))
		}
	}
	b, err := c.read("data/coverage.csv")
	if err != nil {
		return err
	}
	table, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || !slices.EqualFunc(table, rows, slices.Equal) {
		c.find(evidence.Altered, -1, "data/coverage.csv", "it is not what the coverage records say")
	}
	return nil
}

// order checks that the package is the one that the log says was handed out.
func (c *checker) order() error {
	const name = "data/extraction.json"
	own, ok := c.access[c.x.Export]
	if !ok || own.stored.Kind() != evidence.KindExport || own.plain == nil {
		return c.stop(name, "the record of this export is not in access.jsonl")
	}
	var b HandOutBody
	if json.Unmarshal(own.plain, &b) != nil {
		return c.stop(name, "the record of this export cannot be read")
	}
	said, err := json.Marshal(b.Scope)
	if err != nil {
		return err
	}
	scope, err := json.Marshal(c.x.Scope)
	if err != nil {
		return err
	}
	for what, same := range map[string]bool{
		"who": b.Who == c.x.Who, "recipient": b.Recipient == c.x.Recipient, "reference": b.Reference == c.x.Reference, "purpose": b.Purpose == c.x.Purpose,
		"basis": b.Basis == c.x.Basis, "scope": bytes.Equal(said, scope), "records": b.Records == c.x.Records,
	} {
		if !same {
			c.find(evidence.Altered, own.Index, name, "its %s is not what the log says of this export", what)
		}
	}
	if c.x.Origin != c.trust.Origin || c.x.Size != c.signedHead.Size || c.x.Root != c.signedHead.Root.String() || c.x.First != c.proof.First || c.x.Next != c.proof.Next {
		c.find(evidence.Altered, -1, name, "it speaks of another log, head or range")
	}
	if len(c.found) != c.x.Records {
		c.find(evidence.Missing, -1, "data/records/records.jsonl", "%d records were handed out, %d are here", c.x.Records, len(c.found))
	}
	if q := &b.Scope; len(q.IDs) > 0 || q.Event != "" || q.Subject != "" || q.Category != "" || q.Rule != "" {
		return nil // records outside the request are here as leaves only
	}
	have := make(map[int64]bool)
	for i := range c.found {
		have[c.found[i].Index] = true
	}
	for i, leaf := range c.leaves {
		s := evidence.Stored{Leaf: [64]byte(leaf)}
		if !have[i] && (len(b.Scope.Kinds) == 0 || slices.Contains(b.Scope.Kinds, s.Kind().String())) {
			c.find(evidence.Missing, i, "data/records/records.jsonl", "it was asked for and is not here")
		}
	}
	return nil
}

// strays names files that no record needs.
func (c *checker) strays() error {
	for _, dir := range []string{"data/content/", "data/rules/", c.logDir() + "proofs/", c.logDir() + "consistency/", othersDir} {
		for _, name := range c.in.names() {
			if strings.HasPrefix(name, dir) && !c.used[name] {
				c.find(evidence.Altered, -1, name, "no record names this file")
			}
		}
	}
	return nil
}
