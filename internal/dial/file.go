package dial

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// File is a file that a setting names and that keeps the doors: a certificate, a
// key, a password.
type File struct {
	Setting string // as a user writes it, such as kafka.tls.ca_file
	Path    string // empty: the setting names none
	Kind    Kind
}

// Kind is what is in a File.
type Kind int

// Kinds of files.
const (
	Authorities Kind = iota // certificates of who may sign others
	Certificate             // our own, with those that lead to an authority
	Private                 // a key, a password, a token: for nobody else to read
)

// Usable reports why the file cannot be used, nil if it can.
func (f *File) Usable() error {
	if f.Kind != Private {
		_, err := f.NotAfter()
		return err
	}
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Setting, err)
	}
	if len(b) == 0 {
		return fmt.Errorf("%s: the file is empty", f.Setting)
	}
	return nil
}

// Exposed says in words who may read or change a private file beside its owner and
// its group, "" if nobody.
func (f *File) Exposed() string {
	if f.Kind != Private || f.Path == "" {
		return ""
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode().Perm()&0o006 == 0 {
		return "" // that it cannot be read is said elsewhere
	}
	return fmt.Sprintf("%s: everybody on this machine may read or write the file (mode %#o); take that away: chmod o-rwx %s",
		f.Setting, info.Mode().Perm()&fs.ModePerm, f.Path)
}

// NotAfter returns when the certificates in the file end: of a chain the first to
// do so, of authorities the last, because a file of theirs keeps old ones while
// others take over.
func (f *File) NotAfter() (time.Time, error) {
	rest, err := os.ReadFile(f.Path)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", f.Setting, err)
	}
	var end time.Time
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", f.Setting, err)
		}
		if later := c.NotAfter.After(end); end.IsZero() || later == (f.Kind == Authorities) {
			end = c.NotAfter
		}
	}
	if end.IsZero() {
		return end, fmt.Errorf("%s: %w", f.Setting, errors.New("no certificate in it; it must hold PEM blocks of type CERTIFICATE"))
	}
	return end, nil
}
