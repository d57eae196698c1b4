package main

import (
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// walkOpened is [evidence.Walk] with the keys beside the log, if there are any.
func walkOpened(dir string, fn func(evidence.Entry) error) error {
	if !evidence.HasKeys(dir) {
		return evidence.Walk(dir, nil, fn)
	}
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer ring.Close()
	return evidence.Walk(dir, ring, fn)
}
