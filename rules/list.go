package rules

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxListBytes is how long a list of ordinary words or of exclusions may be: some sixteen times
// the list of words in the binary.
const MaxListBytes = 16 << 20

// ReadList reads the file of a list of ordinary words or of exclusions. No more than
// [MaxListBytes] of it are read, whatever stands there; a longer one is refused.
func ReadList(file string) ([]byte, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	src, err := io.ReadAll(io.LimitReader(f, MaxListBytes+1))
	if err != nil {
		return nil, err
	}
	if len(src) > MaxListBytes {
		return nil, fmt.Errorf("%s is longer than %s (rules.MaxListBytes); name a file with an entry a line, and leave the rarest out",
			file, Bytes(MaxListBytes))
	}
	return src, nil
}
