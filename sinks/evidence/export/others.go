package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// othersDir holds, by generation, the records of other logs that explain what is gone of
// the log of a package: each with its own proof, against that log's own head.
const othersDir = "data/others/"

// writeOthers writes them.
func (p *packer) writeOthers() error {
	cited := make(map[string][]int64)
	for i := range p.found {
		if see := p.found[i].see; see != nil {
			cited[see.generation] = append(cited[see.generation], see.index)
		}
	}
	gens, err := evidence.Generations(p.dir)
	if err != nil {
		return err
	}
	for _, g := range gens {
		if list := cited[g]; len(list) > 0 {
			slices.Sort(list)
			if err := p.writeOther(g, slices.Compact(list)); err != nil {
				return fmt.Errorf("records of the log %s that explain what is gone: %w", g, err)
			}
		}
	}
	return nil
}

func (p *packer) writeOther(generation string, list []int64) (err error) {
	s, err := Open(p.dir, generation, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	genesis, err := s.read(0)
	if err != nil {
		return err
	}
	var of struct {
		Key string `json:"verifier_key"`
	}
	if err := json.Unmarshal(genesis.Reading, &of); err != nil {
		return fmt.Errorf("its first record: %w", err)
	}
	head, err := latestHead(p.dir, generation, of.Key)
	if err != nil {
		return err
	}
	if last := list[len(list)-1]; head.Size <= last {
		return fmt.Errorf("no checkpoint covers record %d, so it explains nothing", last)
	}
	var records []Found
	tree := nodes{want: make(map[int64]bool)}
	for _, n := range list {
		f, err := s.read(n)
		if err != nil {
			return err
		}
		records = append(records, f)
		// Asked before the pass: this notes which nodes are needed.
		if _, err := tlog.ProveRecord(head.Size, n, &tree); err != nil {
			return err
		}
	}
	tree.begin()
	err = s.walk(func(e evidence.Entry) error {
		if e.Index >= head.Size {
			return errEnough
		}
		tree.add(e.Leaf[:])
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	dir := othersDir + generation + "/"
	for i, n := range list {
		proof, err := tlog.ProveRecord(head.Size, n, &tree)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, head.Size, head.Root, n, tlog.RecordHash(records[i].Leaf[:])); err != nil {
			return fmt.Errorf("record %d is not in the tree that is signed: %w", n, err)
		}
		if err := p.put(fmt.Sprintf("%sproofs/%d.tlog-proof", dir, n), tlogProof(n, proof, head.checkpoint)); err != nil {
			return err
		}
	}
	if err := p.put(dir+"checkpoint", head.checkpoint); err != nil {
		return err
	}
	key, err := publicPEM(of.Key)
	if err == nil {
		err = p.put(dir+"log.pem", key)
	}
	if err == nil {
		err = p.lines(dir+"destroyed.jsonl", records, nil)
	}
	p.others = append(p.others, otherLog{head.Origin, of.Key, strings.TrimPrefix(dir, payload) + "log.pem"})
	return err
}

// proven is what records of a log are proven against.
type proven struct {
	dir    string // of its files in the package
	head   evidence.Head
	point  []byte           // the checkpoint
	leaves map[int64][]byte // that are here; others have a proof of their own
}

// others checks the records of other logs. Of a log whose key was not given nothing is
// believed: what its records explain is then not explained.
func (c *checker) others() error {
	c.elsewhere = make(map[string]map[int64]checkedLine)
	for _, o := range c.trust.Others {
		g := path.Base(o.Origin)
		dir := othersDir + g + "/"
		if o.Origin == c.trust.Origin || c.elsewhere[g] != nil || o.LogFile != "others/"+g+"/log.pem" {
			return c.stop("data/keys/trust.json", "%s is no other log, or is there twice", o.Origin)
		}
		c.elsewhere[g] = make(map[int64]checkedLine)
		pem, err := publicPEM(o.LogKey)
		if err != nil {
			return c.stop("data/keys/trust.json", "%v", err)
		}
		b, err := c.read(payload + o.LogFile)
		if err != nil {
			return err
		}
		if string(b) != string(pem) {
			return c.stop(payload+o.LogFile, "it is another key than in trust.json")
		}
		t := proven{dir: dir}
		if t.point, err = c.read(dir + "checkpoint"); err != nil {
			return err
		}
		if t.head, err = evidence.ParseCheckpoint(t.point, o.LogKey); err != nil || t.head.Origin != o.Origin {
			return c.stop(dir+"checkpoint", "the signed head of %s: %v", o.Origin, err)
		}
		list, err := c.linesOf(dir+"destroyed.jsonl", &t)
		if err != nil {
			return err
		}
		for _, name := range []string{payload + o.LogFile, dir + "checkpoint", dir + "destroyed.jsonl"} {
			c.used[name] = true
		}
		if len(c.given) > 0 && !slices.ContainsFunc(c.given, func(k string) bool { return strings.TrimSpace(k) == o.LogKey }) {
			c.unknown = append(c.unknown, g)
			continue
		}
		for _, l := range list {
			c.elsewhere[g][l.Index] = l
		}
	}
	return nil
}

// explains reports whether a destroy or shred record is about a record of the package's log:
// it names a body file of its class and day, or keys of its class, or the record itself, or the
// record came after all of a person that it names.
func (c *checker) explains(by, of *checkedLine, want evidence.Kind) bool {
	if by.plain == nil || by.stored.Kind() != want {
		return false
	}
	var r removal
	if json.Unmarshal(by.plain, &r) != nil {
		return false
	}
	own := path.Base(c.trust.Origin)
	if want == evidence.KindShred {
		is, behind := r.names(own, of.Index)
		return is || behind
	}
	class, day := of.stored.Class().String(), of.stored.Time().UTC().Format("2006-01-02")
	file := path.Join("body", class, day, own) + "-"
	return slices.ContainsFunc(r.Files, func(f struct {
		File string `json:"file"`
	}) bool {
		return strings.HasPrefix(f.File, file)
	}) || slices.ContainsFunc(r.KeyFiles, func(f string) bool { return strings.HasPrefix(f, "keys/"+class+"/") })
}
