//go:build !linux

package desk

import "syscall"

// ownerOnly does nothing: here the mode is set once the socket has a name. The directory it is in
// is its owner's alone.
func ownerOnly(_, _ string, _ syscall.RawConn) error { return nil }
