package export

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// vouch checks what third parties have signed: of the log's heads, which must be those of the
// leaves that are here, and of the package.
func (c *checker) vouch() error {
	key, err := note.NewVerifier(c.log.VerifierKey)
	if err != nil {
		return err
	}
	var heads []evidence.Voucher
	take := func(index int64, file string, list []evidence.Voucher, errs []error) {
		for _, err := range errs {
			c.find(evidence.Altered, index, file, "%v", err)
		}
		for _, x := range list {
			x.File = file
			heads = append(heads, x)
		}
	}
	list, errs := c.third.Beside(c.point, key)
	take(-1, c.logDir()+"checkpoint", list, errs)
	seen := make(map[int64]bool)
	for _, from := range []struct {
		name  string
		lines []checkedLine
	}{{"data/records/records.jsonl", c.found}, {"data/anchors.jsonl", c.anchors}} {
		for i := range from.lines {
			l := &from.lines[i]
			if k := l.stored.Kind(); !seen[l.Index] && l.plain != nil && l.stored.Encoding() == evidence.EncodingJSON && (k == evidence.KindAnchor || k == evidence.KindTimestamp) {
				seen[l.Index] = true
				var nobody evidence.ThirdParties
				said, _ := nobody.Read(k, l.plain, nil)
				for _, x := range said { // also of what is false there is a proof
					c.used[c.consistency(x.Size)] = true
				}
				list, errs := c.third.Read(k, l.plain, key)
				take(l.Index, from.name, list, errs)
			}
		}
	}
	roots, err := c.roots(heads)
	if err != nil {
		return err
	}
	if err := c.consistent(heads, roots); err != nil {
		return err
	}
	for i := range heads {
		x := &heads[i]
		c.vouched.Add(x)
		switch root, here := roots[x.Size]; {
		case x.Size > c.signedHead.Size:
			c.find(evidence.Missing, -1, x.File, "a head of %d records is signed by others, the package is proven against one of %d", x.Size, c.signedHead.Size)
		case !here: // there are no leaves to compare it with
		case root != x.Root:
			c.find(evidence.Fork, -1, x.File, "the head of %d records that others have signed has another root than the leaves here", x.Size)
		default:
			c.vouched.Met(x)
		}
	}
	return c.stamps()
}

func (c *checker) consistency(size int64) string {
	return fmt.Sprintf("%sconsistency/%d", c.logDir(), size)
}

// consistent adds the roots that a proof leads to: that the signed head has the records of a
// smaller one as its beginning.
func (c *checker) consistent(heads []evidence.Voucher, roots map[int64]tlog.Hash) error {
	for i := range heads {
		x := &heads[i]
		name := c.consistency(x.Size)
		if _, here := c.in.files[name]; !here || x.Size > c.signedHead.Size {
			continue
		}
		b, err := c.read(name)
		if err != nil {
			return err
		}
		var proof tlog.TreeProof
		for l := range strings.Lines(string(b)) {
			h, err := tlog.ParseHash(strings.TrimSuffix(l, "\n"))
			if err != nil {
				return c.stop(name, "it is no proof")
			}
			proof = append(proof, h)
		}
		if err := tlog.CheckTree(proof, c.signedHead.Size, c.signedHead.Root, x.Size, x.Root); err != nil {
			if root, here := roots[x.Size]; here && root != x.Root {
				continue // that is found without the proof
			}
			c.find(evidence.Fork, -1, name, "the head of %d records that others have signed is not the beginning of the signed head, or the proof of that is none", x.Size)
			continue
		}
		roots[x.Size] = x.Root
	}
	return nil
}

// roots computes the roots of the first n records of the log, for the sizes of heads that can
// be computed from the leaves of the package and the nodes beside them.
func (c *checker) roots(heads []evidence.Voucher) (map[int64]tlog.Hash, error) {
	roots := make(map[int64]tlog.Hash)
	wanted := make(map[int64]bool)
	for _, x := range heads {
		wanted[x.Size] = true
	}
	var f forest
	add := func(p subtree) {
		if f.add(p); wanted[f.size] {
			roots[f.size] = f.root()
		}
	}
	side := func(first, end int64, hashes []string) error {
		for i, x := range cover(first, end) {
			h, err := tlog.ParseHash(hashes[i])
			if err != nil {
				return err // it was parsed before
			}
			level, _ := tlog.SplitStoredHashIndex(x)
			add(subtree{level, h})
		}
		return nil
	}
	if len(heads) == 0 {
		return roots, nil
	}
	p := &c.proof
	if err := side(0, p.First, p.Left); err != nil {
		return nil, err
	}
	for i := p.First; i < p.Next; i++ {
		add(subtree{0, tlog.RecordHash(c.leaves[i])})
	}
	return roots, side(p.Next, p.Size, p.Right)
}

// stamps checks the time-stamps of the package: signatures/*.tsr, over the tag manifest. They
// prove that the package was there then, and so the head in it.
func (c *checker) stamps() error {
	tags, err := c.read("tagmanifest-sha256.txt")
	if err != nil {
		return err
	}
	for _, name := range c.in.names() {
		if !strings.HasPrefix(name, "signatures/") || path.Ext(name) != ".tsr" {
			continue
		}
		x := evidence.Voucher{Size: c.signedHead.Size, Root: c.signedHead.Root, File: name}
		b, err := c.read(name)
		if err != nil {
			return err
		}
		if c.third.Stamped != nil {
			if x.Time, err = c.third.Stamped(b, tags); err != nil {
				c.find(evidence.Altered, -1, name, "the time-stamp of the package: %v", err)
				continue
			}
			x.Checked = true
		}
		c.vouched.Add(&x)
		c.vouched.Met(&x)
	}
	return nil
}
