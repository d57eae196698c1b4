//go:build !linux

package keys

import "os"

func datasync(f *os.File) error { return f.Sync() }
