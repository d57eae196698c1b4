// Package evidencetest is for tests that look at the evidence a daemon has left.
package evidencetest

import (
	"errors"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Walk is [evidence.Walk] with the keys beside the log, if there are any.
func Walk(dir string, fn func(evidence.Entry) error) error {
	if !evidence.HasKeys(dir) {
		return evidence.Walk(dir, nil, fn)
	}
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(evidence.Walk(dir, ring, fn), ring.Close())
}
