//go:build !linux

package evidence

import "os"

func datasync(f *os.File) error { return f.Sync() }
