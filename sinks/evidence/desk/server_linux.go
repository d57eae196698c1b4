package desk

import "syscall"

// ownerOnly sets the mode of the socket before it has a name, so that there is no moment in which
// others could connect.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
		return e
	}
	return err
}
