package desk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The bounds of the control socket.
const (
	// MaxStatementBytes is the longest body of a statement. A plan that names more files than fit
	// is made of two.
	MaxStatementBytes = 4 << 20
	maxLine           = MaxStatementBytes/3*4 + 4096 // a body in base64, and what is said around it
	maxCallers        = 8                            // at a time; others wait to be accepted
	talkTime          = 10 * time.Second             // for a request to arrive, and for an answer to leave
	workTime          = 10 * time.Minute             // for what a caller waits on between them
)

// socketName is the control socket in the evidence directory.
const socketName = "desk.sock"

// request is one line of JSON. A connection carries one request and one answer, so nobody who
// forgets to hang up keeps the desk busy.
type request struct {
	Do     string          `json:"do"`
	Origin string          `json:"origin"` // of the log that is meant
	With   json.RawMessage `json:"with"`
}

// nothing is what is asked with where there is nothing to say.
type nothing struct{}

// What a request may ask to be done.
const (
	doHello    = "hello"
	doAppend   = "append"
	doSeal     = "seal"
	doAbout    = "about"
	doShred    = "shred"
	doRestrict = "restrict"
	doEscrow   = "escrow"
	doDrop     = "drop"
	doClear    = "clear"
	doDue      = "due"
	doDamaged  = "damaged"
	doGiveUp   = "give-up"
	doRotate   = "rotate"
)

// answer is one line of JSON: an error, or what was asked for.
type answer struct {
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// receive reads one line into v.
func receive(c net.Conn, v any) error {
	r := bufio.NewReader(io.LimitReader(c, maxLine))
	line, err := r.ReadBytes('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) >= maxLine:
		return fmt.Errorf("a line of more than %d bytes; a statement may have %d", maxLine, MaxStatementBytes)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	return json.Unmarshal(line, v)
}

// send writes v as one line.
func send(c net.Conn, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(append(line, '\n'))
	return err
}

// maxSocketName is the longest name a socket may have; the smallest limit of the systems Weir runs
// on, less the zero byte.
const maxSocketName = 103

// socketAt returns a name for the socket in dir that is short enough to be given to the kernel.
// Where the name is too long it leads through the open directory, which Linux shows as a short
// path; it holds until release is called.
func socketAt(dir string) (name string, release func(), err error) {
	name = filepath.Join(dir, socketName)
	if len(name) <= maxSocketName {
		return name, func() {}, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	short := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	if _, err := os.Stat(short); err != nil {
		d.Close() //nolint:errcheck // a directory, only read
		return "", nil, fmt.Errorf("the name of the socket %s has %d bytes, and the system takes %d; name the evidence directory by a shorter path, or by a symbolic link with a short name", name, len(name), maxSocketName)
	}
	return filepath.Join(short, socketName), func() { d.Close() }, nil //nolint:errcheck // as above
}
