//go:build !unix

package keys

import (
	"errors"
	"os"
)

// lockDir refuses: without a lock two writers could put keys into one place.
func lockDir(string) (*os.File, error) {
	return nil, errors.New("this system has no file locks that end with the process; the keys of the evidence log need a Unix")
}
