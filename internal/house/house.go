// Package house keeps Weir's house in order. Nothing here is part of the
// daemon and nothing imports it.
//
// Its test reads the source tree and fails when a package imports what stands
// after it, when a third-party module is used outside the package it belongs
// to, or when a package has no place, no comment or an empty name such as util.
// Its command, clauses, writes docs/clauses.md: which line of code keeps which
// clause of the texts Weir serves.
package house

//go:generate go run ./clauses -root ../..
