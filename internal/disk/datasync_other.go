//go:build !linux

package disk

import "os"

// Datasync flushes a file: here data and times alike.
func Datasync(f *os.File) error { return f.Sync() }
