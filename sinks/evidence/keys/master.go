package keys

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// master is where the master keys are: one for each generation, under a name of
// its own. What it wraps and opens are keys of 32 bytes.
type master interface {
	// create makes a key. If there is one of that name, it stays as it is.
	create(name string) error
	wrap(name string, key []byte) ([]byte, error)
	unwrap(name string, wrapped []byte) ([]byte, error)
	// destroy destroys a key for good. That there is none is no error.
	destroy(name string) error
	// where says for people where the key is.
	where() string
}

func newMaster(c Config, calls *calls) master {
	if len(c.Command) > 0 {
		if c.Timeout == 0 {
			c.Timeout = defaultTimeout
		}
		return &commandMaster{c.Command, c.Timeout}
	}
	return &fileMaster{c.File, calls}
}

// fileMaster keeps the keys in a file, a line each: the name, a space, and the
// base64 of 32 random bytes. It reads the file at every call: there are few.
type fileMaster struct {
	path  string
	calls *calls
}

func (m *fileMaster) where() string { return m.path }

type masterLine struct {
	name, secret string
	at           int // where the secret begins in the file
}

// tooOpen are the permission bits the file must not have. Reading by the group is
// allowed: that is how orchestrators hand secrets to processes without root.
const tooOpen fs.FileMode = 0o027

func (m *fileMaster) read() ([]masterLine, error) {
	b, err := os.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(m.path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&tooOpen != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others can use it; run: chmod 600 %s", m.path, fi.Mode().Perm(), m.path)
	}
	var lines []masterLine
	at := 0
	for line := range strings.Lines(string(b)) {
		name, secret, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || name == "" {
			return nil, fmt.Errorf("%s: line %d is not the name of a key and the base64 of 32 bytes", m.path, len(lines)+1)
		}
		lines = append(lines, masterLine{name, secret, at + len(name) + 1})
		at += len(line)
	}
	return lines, nil
}

func (m *fileMaster) write(lines []masterLine) error {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l.name + " " + l.secret + "\n")
	}
	return writeFile(m.calls, m.path, b.Bytes())
}

// create adds a line. If the process dies before the file has its new content,
// nothing was wrapped with the key yet.
func (m *fileMaster) create(name string) error {
	lines, err := m.read()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, l := range lines {
		if l.name == name {
			// An earlier try may have died after the rename and before it was durable.
			return m.write(lines)
		}
	}
	var secret [keySize]byte
	rand.Read(secret[:])
	return m.write(append(lines, masterLine{name: name, secret: base64.StdEncoding.EncodeToString(secret[:])}))
}

func (m *fileMaster) aead(name string) (cipher.AEAD, error) {
	lines, err := m.read()
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		if l.name != name {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(l.secret)
		if err != nil || len(secret) != keySize {
			return nil, fmt.Errorf("%s: the key %s is not the base64 of 32 bytes", m.path, name)
		}
		return newAEAD(secret), nil
	}
	return nil, fmt.Errorf("%s has no key %s", m.path, name)
}

func (m *fileMaster) wrap(name string, key []byte) ([]byte, error) {
	a, err := m.aead(name)
	if err != nil {
		return nil, err
	}
	return seal(a, key, masterData(name)), nil
}

func (m *fileMaster) unwrap(name string, wrapped []byte) ([]byte, error) {
	a, err := m.aead(name)
	if err != nil {
		return nil, err
	}
	key, err := unseal(a, wrapped, masterData(name))
	if err != nil {
		return nil, fmt.Errorf("%s: the key %s is another one than the keyring was wrapped with", m.path, name)
	}
	return key, nil
}

func masterData(name string) []byte { return []byte("ev1 master\n" + name) }

// destroy writes over the secret where it lies, then takes the line out. If the
// process dies before the end, it is done again: the keyring still says that the
// key has to go.
func (m *fileMaster) destroy(name string) error {
	lines, err := m.read()
	if err != nil {
		return err
	}
	var keep []masterLine
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.name != name {
			keep = append(keep, l)
			continue
		}
		if err == nil {
			err = m.calls.write(f, bytes.Repeat([]byte("-"), len(l.secret)), int64(l.at))
		}
		if err == nil {
			err = m.calls.sync(f)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Also if there was no such line: the name of the file may not be durable yet.
	return m.write(keep)
}

// commandMaster asks a program, once for each step and with the name of the key:
//
//	create NAME   make the key; if it is there, leave it as it is
//	wrap NAME     base64 of 32 bytes on stdin, base64 of the wrapped ones on stdout
//	unwrap NAME   the way back
//	destroy NAME  make sure that unwrap never works again; if there is none, do nothing
//
// It exits with 0 if that is done. What it says on stderr otherwise is shown to the
// operator, so it must not print keys.
type commandMaster struct {
	argv    []string
	timeout time.Duration
}

func (m *commandMaster) where() string { return "the command " + filepath.Base(m.argv[0]) }

const (
	maxWrapped       = 64 << 10 // bytes of a wrapped key in base64
	maxCommandStderr = 300
	// commandGrace is how long what the command left running may hold its output.
	commandGrace = time.Second
)

// limited keeps the first bytes of what is written to it.
type limited struct {
	kept  []byte
	limit int
	over  bool
}

func (w *limited) Write(b []byte) (int, error) {
	room := w.limit - len(w.kept)
	w.over = w.over || len(b) > room
	w.kept = append(w.kept, b[:min(len(b), room)]...)
	return len(b), nil
}

func (m *commandMaster) run(verb, name string, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.timeout)
	defer cancel()
	stdout, stderr := limited{limit: maxWrapped}, limited{limit: maxCommandStderr}
	args := append(append([]string(nil), m.argv[1:]...), verb, name)
	cmd := exec.CommandContext(ctx, m.argv[0], args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if in != nil {
		cmd.Stdin = strings.NewReader(base64.StdEncoding.EncodeToString(in) + "\n")
	}
	cmd.WaitDelay = commandGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s %s: no answer within %v", verb, name, m.timeout)
	}
	if err != nil {
		if said := strings.Join(strings.Fields(string(stderr.kept)), " "); said != "" {
			return nil, fmt.Errorf("%s %s: %w; it says: %s", verb, name, err, said)
		}
		return nil, fmt.Errorf("%s %s: %w", verb, name, err)
	}
	if in == nil {
		return nil, nil
	}
	out, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(stdout.kept)))
	if err != nil || len(out) == 0 || stdout.over {
		return nil, fmt.Errorf("%s %s: its output is not the base64 of a key on one line, of at most %d bytes", verb, name, maxWrapped)
	}
	return out, nil
}

func (m *commandMaster) create(name string) error {
	_, err := m.run("create", name, nil)
	return err
}

func (m *commandMaster) wrap(name string, key []byte) ([]byte, error) {
	return m.run("wrap", name, key)
}

func (m *commandMaster) unwrap(name string, wrapped []byte) ([]byte, error) {
	key, err := m.run("unwrap", name, wrapped)
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("unwrap %s: its output has %d bytes; the key that was wrapped has %d", name, len(key), keySize)
	}
	return key, err
}

func (m *commandMaster) destroy(name string) error {
	_, err := m.run("destroy", name, nil)
	return err
}

// newAEAD returns AES-256-GCM under key.
func newAEAD(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is ours
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic(err) // of a block of 16 it is none
	}
	return a
}

const (
	nonceSize = 12
	tagSize   = 16
)

// seal returns a random nonce and the ciphertext.
func seal(a cipher.AEAD, plain, data []byte) []byte {
	nonce := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	rand.Read(nonce)
	return a.Seal(nonce, nonce, plain, data)
}

// unseal opens what seal made.
func unseal(a cipher.AEAD, sealed, data []byte) ([]byte, error) {
	if len(sealed) < nonceSize {
		return nil, errors.New("too short")
	}
	return a.Open(nil, sealed[:nonceSize], sealed[nonceSize:], data)
}
