//go:build !unix

package disk

import (
	"errors"
	"os"
)

// Lock refuses: without a lock two writers could write to one place.
func Lock(string) (*os.File, error) {
	return nil, errors.New("this system has no file locks that end with the process; the evidence log needs a Unix")
}
