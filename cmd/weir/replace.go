package main

import (
	"errors"
	"os"
)

// replaceFile writes a file so that whoever reads it meanwhile sees the old one or the new one. If the
// process dies here the old one stands, perhaps beside one whose name ends in .new, which is no part of
// any rules and which the next try writes over.
func replaceFile(file string, text []byte, mode os.FileMode) error {
	next := file + ".new"
	if err := os.WriteFile(next, text, mode); err != nil {
		return err
	}
	if err := os.Rename(next, file); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return nil
}
