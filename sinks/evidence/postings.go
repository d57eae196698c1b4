package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Posting is one entry of an index, for who keeps the indexes of many logs together: a
// record by the first 8 bytes of its id, or by one of its terms.
type Posting struct {
	Key   uint64 // see [keys.Ring.Term]
	Term  bool   // else Key is of an id
	Index int64  // of the record
}

// IndexFile is the index of one sealed segment.
type IndexFile struct {
	Segment int64 // its first record
	// Written is another time when the index is another one: a person's terms were taken
	// out, or it was made again.
	Written time.Time
}

// Indexes lists the indexes of a log. It reads none of them.
func Indexes(dir, generation string) ([]IndexFile, error) {
	des, err := os.ReadDir(filepath.Join(dir, indexesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list indexes: %w", err)
	}
	var list []IndexFile
	for _, de := range des {
		digits, ok := strings.CutPrefix(strings.TrimSuffix(de.Name(), indexExt), generation+"-")
		first, err := strconv.ParseInt(digits, 10, 64)
		if !ok || err != nil || de.Name() != filepath.Base(indexName(generation, first)) {
			continue
		}
		fi, err := de.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list indexes: %w", err)
		}
		list = append(list, IndexFile{first, fi.ModTime()})
	}
	return list, nil
}

// Postings returns what the index of a segment has, and its checksum.
func Postings(dir, generation string, segment int64) ([]Posting, uint32, error) {
	b, err := readIndex(dir, generation, segment)
	if err != nil {
		return nil, 0, fmt.Errorf("read index: %w", err)
	}
	records, terms := int64(binary.BigEndian.Uint32(b[24:])), int64(binary.BigEndian.Uint32(b[28:]))
	x := index{records: records, terms: terms}
	list := make([]Posting, 0, records+terms)
	add := func(postings []byte, term bool) {
		for ; len(postings) > 0; postings = postings[postingSize:] {
			list = append(list, Posting{binary.BigEndian.Uint64(postings), term, segment + int64(binary.BigEndian.Uint32(postings[8:]))})
		}
	}
	add(b[x.idsAt()+tableSize(records):x.termsAt()], false)
	add(b[x.termsAt()+tableSize(terms):], true)
	return list, binary.BigEndian.Uint32(b[4:]), nil
}

// readIndex reads an index whole. It fails with errIndex if that is not what was written.
func readIndex(dir, generation string, first int64) ([]byte, error) {
	x, err := openIndex(dir, generation, first)
	if err != nil {
		return nil, err
	}
	defer x.close()
	if err := x.check(); err != nil {
		return nil, err
	}
	return x.read()
}
