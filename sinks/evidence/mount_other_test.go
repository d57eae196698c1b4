//go:build !linux

package evidence

import "errors"

func mountSmall(string, string) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
