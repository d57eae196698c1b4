//go:build hyperscan

package main

/*
#cgo pkg-config: libhs
#include <hs.h>
#include <stdlib.h>

static int count(unsigned int id, unsigned long long from, unsigned long long to, unsigned int flags, void *context) {
	++*(unsigned long long *)context;
	return 0;
}

// scan_posts searches posts [from, to) of those that stand in a row in data and end at ends.
static hs_error_t scan_posts(const hs_database_t *db, hs_scratch_t *scratch, const char *data,
		const unsigned long long *ends, size_t from, size_t to, unsigned long long *matches) {
	unsigned long long at = from ? ends[from - 1] : 0;
	for (size_t i = from; i < to; i++) {
		hs_error_t err = hs_scan(db, data + at, (unsigned int)(ends[i] - at), 0, scratch, count, matches);
		if (err != HS_SUCCESS)
			return err;
		at = ends[i];
	}
	return HS_SUCCESS;
}
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// newHyperscan builds a database of literals. It is called for many posts at a time,
// so that it does not pay for going from Go to C with each.
func newHyperscan(s *set) (engines []engine, free func(), err error) {
	n := len(s.words)
	word := make([]*C.char, n)
	size, id, flag := make([]C.size_t, n), make([]C.uint, n), make([]C.uint, n)
	// All words stand in memory of C, as does the slice of pointers to them.
	row := (*C.char)(C.CBytes([]byte(strings.Join(s.words, ""))))
	defer C.free(unsafe.Pointer(row))
	at := 0
	for i, w := range s.words {
		word[i] = (*C.char)(unsafe.Add(unsafe.Pointer(row), at))
		size[i], id[i] = C.size_t(len(w)), C.uint(i)
		at += len(w)
	}
	var db *C.hs_database_t
	var fault *C.hs_compile_error_t
	if rc := C.hs_compile_lit_multi(&word[0], &flag[0], &id[0], &size[0], C.uint(n), C.HS_MODE_BLOCK, nil, &db, &fault); rc != C.HS_SUCCESS {
		defer C.hs_free_compile_error(fault)
		return nil, nil, errors.New("compile for Hyperscan: " + C.GoString(fault.message))
	}
	var scratch *C.hs_scratch_t
	if rc := C.hs_alloc_scratch(db, &scratch); rc != C.HS_SUCCESS {
		C.hs_free_database(db)
		return nil, nil, fmt.Errorf("allocate Hyperscan's scratch: error %d", rc)
	}
	var texts []unsafe.Pointer
	free = func() {
		C.hs_free_scratch(scratch)
		C.hs_free_database(db)
		for _, t := range texts {
			C.free(t)
		}
	}
	bind := func(p *posts) func(int, int) int {
		data := C.CBytes(bytes.Join(p.folded, nil))
		texts = append(texts, data)
		ends, at := make([]C.ulonglong, len(p.folded)), 0
		for i, f := range p.folded {
			at += len(f)
			ends[i] = C.ulonglong(at)
		}
		return func(from, to int) int {
			var matches C.ulonglong
			if rc := C.scan_posts(db, scratch, (*C.char)(data), &ends[0], C.size_t(from), C.size_t(to), &matches); rc != C.HS_SUCCESS {
				panic(fmt.Sprintf("hs_scan: error %d", rc)) // the arguments are right, so this is a bug
			}
			return int(matches)
		}
	}
	return []engine{{"hs", bind}}, free, nil
}
