package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// Order says what is to be handed out, to whom and by what right.
type Order struct {
	Request
	Recipient string // who gets the package
	Reference string // the number of their request; may be empty
	Place     string // where it was extracted; may be empty
	// AccessLog puts all access and export records of the log into the package, not
	// only the package's own. They name staff and their purposes.
	AccessLog bool

	// Out is the directory to make, or a file that ends in .tar. It must not exist.
	Out string
	// VerifierKey is the log's public key.
	VerifierKey string
	// Signer signs the package: the log's key, or one of the organisation.
	// SignerKey is its verifier key.
	Signer    note.Signer
	SignerKey string

	Build string           // of Weir, for the record
	Now   func() time.Time // nil: time.Now
}

func (o *Order) check() error {
	err := o.Request.check()
	if strings.TrimSpace(o.Recipient) == "" {
		err = errors.Join(err, errors.New("no recipient given; nothing is handed out without one"))
	}
	return err
}

// HandOutBody is the body of the export record that is durable before a package is
// begun: who is given what, why and by what right.
type HandOutBody struct {
	Who       string `json:"who"`
	Recipient string `json:"recipient"`
	Reference string `json:"reference,omitempty"`
	Purpose   string `json:"purpose"`
	Basis     string `json:"basis"`
	Scope     Scope  `json:"scope"`
	Records   int    `json:"records"`
}

// ExportedBody is the body of the export record that follows when the package is on
// the disk: the hash by which it is known again. Without it the package was begun
// and not finished, or the process died before it could say so.
type ExportedBody struct {
	Export string `json:"export"` // id of the export record
	// TagManifest is the SHA-256 of tagmanifest-sha256.txt in hex: it covers the hashes
	// of all files.
	TagManifest string `json:"tagmanifest_sha256"`
	Files       int    `json:"files"`
	Bytes       int64  `json:"bytes"` // of the payload
}

// Exported says what [Source.Export] made.
type Exported struct {
	Out         string `json:"out"`
	Records     int    `json:"records"`
	First       int64  `json:"first"` // the leaves in the package: from First
	Next        int64  `json:"next"`  // up to and not including Next
	Size        int64  `json:"size"`  // of the signed head they are proven against
	Root        string `json:"root"`
	Files       int    `json:"files"`
	Bytes       int64  `json:"bytes"`
	TagManifest string `json:"tagmanifest_sha256"`
	Export      int64  `json:"export"` // index of the export record
}

// Export hands records out as a package that can be checked without Weir. That it
// does is on record before anything of it is written. If the process dies on the
// way, what was written so far is left under Out.tmp, and the log says that a
// package was begun.
//
// Clause: rn-share
// What is handed to others is recorded with recipient, purpose, basis and scope before it is written, and with the hash of all its files after.
// Clause: cmp-support
// An authority is given a package with manifest, signature, proofs and instructions in Chinese and English, which it checks with tools of its own.
func (s *Source) Export(ctx context.Context, o Order, record Append) (Exported, error) {
	if err := o.check(); err != nil {
		return Exported{}, err
	}
	x, err := s.export(ctx, o, record)
	if err != nil {
		return Exported{}, fmt.Errorf("export evidence: %w", err)
	}
	return x, nil
}

func (s *Source) export(ctx context.Context, o Order, record Append) (Exported, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	found, err := s.find(&o.Query)
	if err != nil {
		return Exported{}, err
	}
	if len(found.list) == 0 && o.Query.From.IsZero() && o.Query.To.IsZero() {
		return Exported{}, errors.New("no record matches; there is nothing to hand out")
	}
	o.Out = filepath.Clean(o.Out)
	asTar := strings.HasSuffix(o.Out, ".tar")
	dir := strings.TrimSuffix(o.Out, ".tar")
	if _, err := os.Lstat(o.Out); err == nil {
		return Exported{}, fmt.Errorf("%s exists already; name one that does not", o.Out)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Exported{}, err
	}
	// The place is made first: who has given a wrong name should not have to explain a
	// record of a package that never was.
	b, err := newBag(dir)
	if err != nil {
		return Exported{}, err
	}
	defer b.discard() //nolint:errcheck // nothing is left where it was finished
	index, id, err := record(ctx, evidence.KindExport, HandOutBody{
		Who: o.Who, Recipient: o.Recipient, Reference: o.Reference, Purpose: o.Purpose, Basis: o.Basis,
		Scope: s.scope(&o.Query, true), Records: len(found.list),
	})
	if err != nil {
		return Exported{}, fmt.Errorf("record the export, without which nothing is handed out: %w", err)
	}
	p := &packer{Source: s, bag: b, order: &o, found: found.list, first: found.first, next: found.next, own: index}
	if p.head, err = s.signed(ctx, o.VerifierKey, index+1); err != nil {
		return Exported{}, err
	}
	tags, err := p.write()
	if err != nil {
		return Exported{}, err
	}
	if asTar {
		if err := writeTar(b.tmp, o.Out+".tmp"); err != nil {
			return Exported{}, err
		}
		if err := os.Rename(o.Out+".tmp", o.Out); err != nil {
			return Exported{}, err
		}
		err = syncDir(filepath.Dir(o.Out))
	} else {
		err = b.finish()
	}
	if err != nil {
		return Exported{}, err
	}
	sum := sha256.Sum256(tags)
	out := Exported{
		Out: o.Out, Records: len(found.list), First: p.first, Next: p.next, Size: p.head.Size, Root: p.head.Root.String(),
		Files: b.files, Bytes: b.bytes, TagManifest: hex.EncodeToString(sum[:]), Export: index,
	}
	if _, _, err := record(ctx, evidence.KindExport, ExportedBody{id.String(), out.TagManifest, out.Files, out.Bytes}); err != nil {
		return Exported{}, fmt.Errorf("%s is written, but that is not on record: %w", o.Out, err)
	}
	return out, nil
}

// Waiting for a checkpoint: a daemon signs every second, or every minute at most.
const (
	lookEvery = 20 * time.Millisecond
	waitFor   = 2 * time.Minute
)

// signed waits for a checkpoint of at least so many records.
func (s *Source) signed(ctx context.Context, vkey string, size int64) (signedHead, error) {
	ctx, cancel := context.WithTimeout(ctx, waitFor)
	defer cancel()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		h, err := latestHead(s.dir, s.generation, vkey)
		if err != nil || h.Size >= size {
			return h, err
		}
		select {
		case <-ctx.Done():
			return signedHead{}, fmt.Errorf("no checkpoint covers record %d yet: %w", size-1, ctx.Err())
		case <-t.C:
		}
	}
}

// packer writes one package.
type packer struct {
	*Source
	*bag
	order *Order
	found []Found
	own   int64 // index of the export record
	head  signedHead

	first, next int64   // the leaves that are handed out
	statements  []Found // what was destroyed, held, accessed
	coverage    []Found // accounts of offsets in the range
	cited       []Found // rule sets, one for each digest
	citedAs     []string
	others      []otherLog // whose records explain what is gone here
	anchors     []Found    // with heads that others have signed
	vouched     []int64    // the sizes of these heads
}

// line is a record as it stands in a package, a JSON object a line.
type line struct {
	Index    int64           `json:"index"`
	ID       string          `json:"id"`
	Kind     string          `json:"kind"`
	Class    string          `json:"class"`
	Time     string          `json:"time"` // when it was recorded
	Leaf     []byte          `json:"leaf"`
	Salt     []byte          `json:"salt,omitempty"`
	Encoding string          `json:"encoding"`
	Body     []byte          `json:"body,omitempty"`    // the bytes that the leaf commits to, with the salt
	File     string          `json:"file,omitempty"`    // where these bytes are, if not in body
	Reading  json.RawMessage `json:"reading,omitempty"` // what they say
	Content  string          `json:"content,omitempty"` // the file with the message as it was received
	Verdict  string          `json:"verdict"`
}

func lineOf(f *Found) line {
	l := line{
		Index: f.Index, ID: f.ID().String(), Kind: f.Kind().String(), Class: f.Class().String(), Time: stamp(f.Time()),
		Leaf: f.Leaf[:], Salt: f.Salt, Encoding: "json", Body: f.Plain, Reading: f.Reading, Verdict: f.Fate,
	}
	if f.Encoding() == evidence.EncodingProtobuf {
		l.Encoding = "protobuf"
	}
	return l
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// write writes everything and returns the tag manifest.
func (p *packer) write() ([]byte, error) {
	p.bounds()
	if err := p.collect(); err != nil {
		return nil, err
	}
	for _, part := range []func() error{p.writeRecords, p.writeStatements, p.writeCoverage, p.writeRules, p.writeLog, p.writeOthers, p.writeKeys, p.writeExtraction, p.writeTools} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	now := p.order.Now()
	tags, err := p.seal([]infoLine{
		{"External-Description", "Evidence of content moderation, to be checked as data/README.en.md and data/README.zh.md say"},
		{"External-Identifier", p.order.Reference},
		{"Weir-Origin", p.head.Origin},
		{"Weir-Recipient", p.order.Recipient},
		{"Weir-Basis", p.order.Basis},
		{"Weir-Purpose", p.order.Purpose},
		{"Weir-Extracted-By", p.order.Who},
		{"Weir-Extracted-At", stamp(now)},
		{"Weir-Method", "weir evidence export " + p.order.Build},
		{"Weir-Records", strconv.Itoa(len(p.found))},
		{"Weir-Leaves", fmt.Sprintf("%d to %d of %d", p.first, p.next, p.head.Size)},
	}, now)
	if err != nil {
		return nil, err
	}
	return tags, p.sign(tags)
}

// bounds narrows the leaves that are handed out, where no range of time was asked
// for, to those from the first record found to the last. All of them stand before
// the export record, so the head that covers it covers them.
func (p *packer) bounds() {
	if q := &p.order.Query; q.From.IsZero() && q.To.IsZero() {
		p.first, p.next = p.found[0].Index, p.found[len(p.found)-1].Index+1
	}
	p.first = min(p.first, p.next)
}

// collect finds the records that explain the others.
func (p *packer) collect() error {
	digests := make(map[string]bool)
	for i := range p.found {
		for _, d := range digestsOf(p.found[i].Reading) {
			digests[d] = true
		}
	}
	var explain, accounts, inForce []int64
	anchors := make(anchorings)
	err := p.walk(func(e evidence.Entry) error {
		switch {
		case e.Index >= p.head.Size:
			return errEnough
		case e.Kind == evidence.KindAccess || e.Kind == evidence.KindExport:
			if p.order.AccessLog || e.Index == p.own {
				explain = append(explain, e.Index)
			}
		case e.Kind >= evidence.KindHold && e.Kind <= evidence.KindRestricted:
			explain = append(explain, e.Index)
		case e.Kind == evidence.KindCoverage || e.Kind == evidence.KindGap:
			if e.Index >= p.first && e.Index < p.next {
				accounts = append(accounts, e.Index)
			}
		case e.Kind == evidence.KindStart || e.Kind == evidence.KindRuleSet:
			inForce = append(inForce, e.Index)
		case e.Kind == evidence.KindAnchor || e.Kind == evidence.KindTimestamp:
			anchors.take(&e, p.next)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, part := range []struct {
		from []int64
		to   *[]Found
	}{{explain, &p.statements}, {accounts, &p.coverage}, {anchors.records(), &p.anchors}} {
		for _, i := range part.from {
			f, err := p.read(i)
			if err != nil {
				return err
			}
			*part.to = append(*part.to, f)
		}
	}
	p.vouched = anchors.sizes(p.head.Size)
	for i := range p.coverage {
		for _, d := range digestsOf(p.coverage[i].Reading) {
			digests[d] = true
		}
	}
	return p.cite(inForce, digests)
}

// digestsOf returns the digests of rule sets that a body names, in hex.
func digestsOf(reading json.RawMessage) []string {
	var b struct {
		Rules  string `json:"rules"`
		Ranges []struct {
			Rules string `json:"rules"`
		} `json:"ranges"`
	}
	if json.Unmarshal(reading, &b) != nil {
		return nil
	}
	list := []string{b.Rules}
	for _, r := range b.Ranges {
		list = append(list, r.Rules)
	}
	return slices.DeleteFunc(list, func(d string) bool { return d == "" })
}

// cite takes of the records about what came into force one for each digest that
// is named. A body may name the first half of a digest.
func (p *packer) cite(inForce []int64, digests map[string]bool) error {
	taken := make(map[string]bool)
	for _, i := range inForce {
		f, err := p.read(i)
		if err != nil {
			return err
		}
		var b struct {
			Rules string `json:"rules"`
		}
		if f.Reading == nil || json.Unmarshal(f.Reading, &b) != nil || b.Rules == "" || taken[b.Rules] {
			continue
		}
		named := false
		for d := range digests {
			named = named || strings.HasPrefix(b.Rules, d)
		}
		// A digest names a file: it must be one.
		if _, err := hex.DecodeString(b.Rules); named && err == nil {
			taken[b.Rules] = true
			p.cited, p.citedAs = append(p.cited, f), append(p.citedAs, b.Rules)
		}
	}
	return nil
}

func (p *packer) lines(name string, list []Found, edit func(*Found, *line) error) error {
	f, err := p.create(name)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	enc.SetEscapeHTML(false) // "<" should be found where the user wrote it
	for i := range list {
		l := lineOf(&list[i])
		if edit != nil {
			err = edit(&list[i], &l)
		}
		if err == nil {
			err = enc.Encode(l)
		}
		if err != nil {
			return errors.Join(err, f.close())
		}
	}
	return f.close()
}

func (p *packer) writeRecords() error {
	return p.lines("data/records/records.jsonl", p.found, func(f *Found, l *line) error {
		var b struct {
			Original struct {
				Value []byte `json:"value"`
			} `json:"original"`
		}
		if f.Reading == nil || json.Unmarshal(f.Reading, &b) != nil || b.Original.Value == nil {
			return nil //nolint:nilerr // a body that holds no message
		}
		l.Content = "content/" + l.ID + ".bin"
		name := payload + l.Content
		sum := sha256.Sum256(b.Original.Value)
		if have, ok := p.sums[name]; ok {
			// The same record once more, after a crash or decided again: the message is the same.
			if have != hex.EncodeToString(sum[:]) {
				return fmt.Errorf("records of the id %s hold different messages; see what weir evidence verify says", l.ID)
			}
			return nil
		}
		return p.put(name, b.Original.Value)
	})
}

func (p *packer) writeStatements() error {
	of := func(kinds ...evidence.Kind) []Found {
		var list []Found
		for _, f := range p.statements {
			if slices.Contains(kinds, f.Kind()) {
				list = append(list, f)
			}
		}
		return list
	}
	err := p.lines("data/destroyed.jsonl", of(evidence.KindDestroyPlan, evidence.KindDestroy, evidence.KindDestroyed, evidence.KindShred, evidence.KindRestricted), nil)
	if err == nil {
		err = p.lines("data/holds.jsonl", of(evidence.KindHold, evidence.KindRelease), nil)
	}
	if err == nil {
		err = p.lines("data/access.jsonl", of(evidence.KindAccess, evidence.KindExport), nil)
	}
	return err
}

// coverageColumns are the columns of coverage.csv.
var coverageColumns = []string{"record", "time", "what", "topic", "partition", "first", "next", "fetched", "passed", "flagged", "dead_lettered", "skipped", "rules", "policy"}

func (p *packer) writeCoverage() error {
	if err := p.lines("data/coverage.jsonl", p.coverage, nil); err != nil {
		return err
	}
	f, err := p.create("data/coverage.csv")
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	err = w.Write(coverageColumns)
	for i := range p.coverage {
		c := &p.coverage[i]
		if c.Plain == nil || err != nil {
			continue
		}
		number := func(n int64) string { return strconv.FormatInt(n, 10) }
		begin := []string{number(c.Index), stamp(c.Time()), c.Kind().String()}
		if c.Kind() == evidence.KindGap {
			var g evidence.GapBody
			if err = json.Unmarshal(c.Plain, &g); err == nil {
				err = w.Write(append(begin, g.Topic, number(int64(g.Partition)), number(g.First), number(g.Next), "", "", "", "", "", "", ""))
			}
			continue
		}
		var b evidence.CoverageBody
		if err = json.Unmarshal(c.Plain, &b); err != nil {
			continue
		}
		for _, r := range b.Ranges {
			if err == nil {
				err = w.Write(append(slices.Clone(begin), r.Topic, number(int64(r.Partition)), number(r.First), number(r.Next), number(r.Fetched),
					number(r.Passed), number(r.Flagged), number(r.DeadLettered), number(r.Skipped), r.Rules, r.Policy))
			}
		}
	}
	w.Flush()
	return errors.Join(err, w.Error(), f.close())
}

func (p *packer) writeRules() error {
	n := 0
	return p.lines("data/rules.jsonl", p.cited, func(f *Found, l *line) error {
		l.File, l.Body, l.Reading = "rules/"+p.citedAs[n]+".json", nil, nil
		n++
		return p.put(payload+l.File, f.Plain)
	})
}

// rangeProof is what is needed beside the leaves of a range to compute the root of
// the whole tree: complete nodes from the left and from the right of it.
type rangeProof struct {
	Origin string   `json:"origin"`
	First  int64    `json:"first"`
	Next   int64    `json:"next"`
	Size   int64    `json:"size"`
	Left   []string `json:"left"`
	Right  []string `json:"right"`
}

func (p *packer) logDir() string { return "data/log/" + p.generation + "/" }

// writeLog writes the leaves of the range, the signed head, and for each record
// outside the range the proof that it is in the tree.
func (p *packer) writeLog() error {
	tree := nodes{want: make(map[int64]bool)}
	left, right := cover(0, p.first), cover(p.next, p.head.Size)
	var outside []int64
	for _, list := range [][]Found{p.found, p.statements, p.coverage, p.cited, p.anchors} {
		for i := range list {
			if n := list[i].Index; n < p.first || n >= p.next {
				outside = append(outside, n)
			}
		}
	}
	slices.Sort(outside)
	outside = slices.Compact(outside)
	// Asked before the pass: this notes which nodes are needed.
	for _, n := range outside {
		if _, err := tlog.ProveRecord(p.head.Size, n, &tree); err != nil {
			return err
		}
	}
	for _, list := range [][]int64{left, right} {
		if _, err := tree.ReadHashes(list); err != nil {
			return err
		}
	}
	for _, n := range p.vouched {
		if _, err := tlog.ProveTree(p.head.Size, n, &tree); err != nil {
			return err
		}
	}
	rootNodes := cover(0, p.head.Size)
	if _, err := tree.ReadHashes(rootNodes); err != nil {
		return err
	}
	if err := p.writeLeaves(&tree); err != nil {
		return err
	}
	// A package whose own proofs do not hold must not leave the house.
	hashes, err := tree.ReadHashes(rootNodes)
	if err != nil {
		return err
	}
	root := hashes[len(hashes)-1]
	for _, h := range reversed(hashes[:len(hashes)-1]) {
		root = tlog.NodeHash(h, root)
	}
	if root != p.head.Root {
		return fmt.Errorf("the records do not have the root that is signed for %d of them; see what weir evidence verify says", p.head.Size)
	}
	proof := rangeProof{Origin: p.head.Origin, First: p.first, Next: p.next, Size: p.head.Size}
	for _, side := range []struct {
		from []int64
		to   *[]string
	}{{left, &proof.Left}, {right, &proof.Right}} {
		hashes, err := tree.ReadHashes(side.from)
		if err != nil {
			return err
		}
		*side.to = []string{}
		for _, h := range hashes {
			*side.to = append(*side.to, h.String())
		}
	}
	b, err := json.MarshalIndent(proof, "", "  ")
	if err != nil {
		return err
	}
	if err := p.put(p.logDir()+"range.json", append(b, '\n')); err != nil {
		return err
	}
	if err := p.put(p.logDir()+"checkpoint", p.head.checkpoint); err != nil {
		return err
	}
	if err := p.writeVouched(&tree); err != nil {
		return err
	}
	for _, n := range outside {
		path, err := tlog.ProveRecord(p.head.Size, n, &tree)
		if err != nil {
			return err
		}
		if err := p.put(fmt.Sprintf("%sproofs/%d.tlog-proof", p.logDir(), n), tlogProof(n, path, p.head.checkpoint)); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) writeLeaves(tree *nodes) error {
	f, err := p.create(p.logDir() + "leaves.bin")
	if err != nil {
		return err
	}
	tree.begin()
	err = p.walk(func(e evidence.Entry) error {
		if e.Index >= p.head.Size {
			return errEnough
		}
		if e.Index != tree.n {
			return fmt.Errorf("record %d is missing", tree.n)
		}
		tree.add(e.Leaf[:])
		if e.Index < p.first || e.Index >= p.next {
			return nil
		}
		_, err := f.Write(e.Leaf[:])
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && tree.n < p.head.Size {
		err = fmt.Errorf("%d records are signed, %d are here; see what weir evidence verify says", p.head.Size, tree.n)
	}
	return errors.Join(err, f.close())
}

// tlogProof writes an inclusion proof as C2SP tlog-proof says.
func tlogProof(index int64, path tlog.RecordProof, checkpoint []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "c2sp.org/tlog-proof@v1\nindex %d\n", index)
	for _, h := range path {
		fmt.Fprintln(&b, h)
	}
	b.WriteByte('\n')
	b.Write(checkpoint)
	return b.Bytes()
}

// trust says which keys signed what. A reader compares it with what the
// organisation has published.
type trust struct {
	Origin      string `json:"origin"`
	LogKey      string `json:"log_key"`
	PackageKey  string `json:"package_key"`
	LogFile     string `json:"log_key_file"`
	PackageFile string `json:"package_key_file"`
	// Others are logs of the same directory whose records explain what is gone of this one.
	Others []otherLog `json:"others,omitempty"`
}

// otherLog says which key signed a log of which the package holds single records.
type otherLog struct {
	Origin  string `json:"origin"`
	LogKey  string `json:"log_key"`
	LogFile string `json:"log_key_file"`
}

func (p *packer) writeKeys() error {
	t := trust{Origin: p.head.Origin, LogKey: p.order.VerifierKey, PackageKey: p.order.SignerKey, LogFile: "keys/log.pem", PackageFile: "keys/log.pem", Others: p.others}
	key, err := publicPEM(t.LogKey)
	if err != nil {
		return err
	}
	if err := p.put(payload+t.LogFile, key); err != nil {
		return err
	}
	if t.PackageKey != t.LogKey {
		t.PackageFile = "keys/package.pem"
		if key, err = publicPEM(t.PackageKey); err != nil {
			return err
		}
		if err := p.put(payload+t.PackageFile, key); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return p.put("data/keys/trust.json", append(b, '\n'))
}

// spki is what stands before the 32 bytes of an Ed25519 key in its usual encoding (RFC 8410).
var spki = []byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}

// publicPEM writes a verifier key as OpenSSL reads it.
func publicPEM(vkey string) ([]byte, error) {
	part := strings.SplitN(vkey, "+", 3)
	data, err := base64.StdEncoding.DecodeString(part[len(part)-1])
	if err != nil || len(part) != 3 || len(data) != 33 || data[0] != 1 {
		return nil, errors.New("verifier key: not an Ed25519 key of the form <name>+<hash>+<key>")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: append(slices.Clone(spki), data[1:]...)}), nil
}

// extraction is the record of how the package came about.
type extraction struct {
	Format    int    `json:"format"` // 1
	Origin    string `json:"origin"`
	Who       string `json:"who"`
	Recipient string `json:"recipient"`
	Reference string `json:"reference"`
	Purpose   string `json:"purpose"`
	Basis     string `json:"basis"`
	Place     string `json:"place"`
	At        string `json:"at"`
	Method    string `json:"method"`
	Scope     Scope  `json:"scope"`
	Records   int    `json:"records"`
	Opened    int    `json:"opened"` // of which the body is here
	First     int64  `json:"first"`
	Next      int64  `json:"next"`
	Size      int64  `json:"size"`
	Root      string `json:"root"`
	Export    int64  `json:"export"` // index of the record of this export
}

func (p *packer) extraction() extraction {
	o := p.order
	x := extraction{
		Format: 1, Origin: p.head.Origin, Who: o.Who, Recipient: o.Recipient, Reference: o.Reference, Purpose: o.Purpose, Basis: o.Basis,
		Place: o.Place, At: stamp(o.Now()), Method: "weir evidence export " + o.Build, Scope: p.scope(&o.Query, true),
		Records: len(p.found), First: p.first, Next: p.next, Size: p.head.Size, Root: p.head.Root.String(), Export: p.own,
	}
	for i := range p.found {
		if p.found[i].Plain != nil {
			x.Opened++
		}
	}
	return x
}

func (p *packer) writeExtraction() error {
	b, err := json.MarshalIndent(p.extraction(), "", "  ")
	if err != nil {
		return err
	}
	return p.put("data/extraction.json", append(b, '\n'))
}

// packageTag begins what is signed of a package. It is no name of a log, so no
// checkpoint can be taken for it and it for no checkpoint.
const packageTag = "weir evidence package 1"

// sign writes the signature over the tag manifest: a signed note (C2SP) of three
// lines.
func (p *packer) sign(tags []byte) error {
	sum := sha256.Sum256(tags)
	msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%x\n%s\n", packageTag, sum, p.head.Origin)}, p.order.Signer)
	if err != nil {
		return fmt.Errorf("sign the package: %w", err)
	}
	v, err := note.NewVerifier(p.order.SignerKey)
	if err != nil {
		return fmt.Errorf("verifier key of the signer: %w", err)
	}
	if _, err := note.Open(msg, note.VerifierList(v)); err != nil {
		return fmt.Errorf("check own signature: %w", err)
	}
	f, err := p.stage.create("signatures/tagmanifest.note")
	if err != nil {
		return err
	}
	_, err = f.Write(msg)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
