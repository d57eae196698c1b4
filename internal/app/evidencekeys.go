package app

import (
	"context"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// openKeys opens the keys of the evidence and returns those to write with, nil if
// nothing more is to be encrypted. What was encrypted before is still read: pushes
// that Redis was not told of.
func (d *daemon) openKeys() (write *keys.Ring, err error) {
	c := &d.cfg.Evidence
	if !c.Encrypt && !evidence.HasKeys(c.Dir) {
		return nil, nil
	}
	// If the directory was restored from a copy, what was shredded since is shredded again
	// before a key is read.
	erased, err := desk.Erased(c.Dir)
	if err != nil {
		return nil, err
	}
	// They are opened to write also where nothing more is encrypted: people are still erased.
	o := keys.Options{Master: c.MasterKey, Erased: erased, Logger: d.log}
	if d.keyStore != nil {
		o.Store = d.keyStore
	}
	if d.keys, err = evidence.OpenKeys(c.Dir, o); err != nil {
		return nil, err
	}
	d.stops.push("evidence keys", func(context.Context) error { return d.keys.Close() })
	if !c.Encrypt {
		return nil, nil
	}
	return d.keys, nil
}
