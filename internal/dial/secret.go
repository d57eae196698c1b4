package dial

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// maxSecret is how long a secret in a file may be, in bytes. A token with many
// claims has some kilobytes.
const maxSecret = 64 << 10

// Secret is a password or a token in a file. It is read again each time it is
// asked for, so that one that was replaced counts from the next login on. It may
// be used by many goroutines, and prints as <secret>.
type Secret struct {
	path, file string

	mu   sync.Mutex
	last string
}

// OpenSecret reads the secret in a file: its content without the newline at the
// end. Path is the setting that names the file.
func OpenSecret(path, file string) (*Secret, error) {
	s := &Secret{path: path, file: file}
	var err error
	if s.last, err = s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// Value returns the secret as the file has it now, or as it had it last where the
// file cannot be read or is empty, as while it is being replaced.
func (s *Secret) Value() string {
	v, err := s.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.last = v
	}
	return s.last
}

// String hides the secret.
func (*Secret) String() string { return "<secret>" }

// GoString hides the secret.
func (s *Secret) GoString() string { return s.String() }

func (s *Secret) read() (string, error) {
	b, err := os.ReadFile(s.file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.path, err)
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("%s: the file has %d bytes; a secret has at most %d", s.path, len(b), maxSecret)
	}
	value := strings.TrimRight(string(b), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s: the file is empty; it must hold the password", s.path)
	}
	return value, nil
}
