//go:build !unix

package evidence

import (
	"errors"
	"os"
)

// lockDir refuses: without a lock two writers could fork the log.
func lockDir(string) (*os.File, error) {
	return nil, errors.New("this system has no file locks that end with the process; the evidence log needs a Unix")
}
