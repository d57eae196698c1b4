package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/pipeline"
)

// memoryFile is where an instance keeps what was decided about rules that hit too much: beside its
// evidence, a directory of its own that it can write to. It is no evidence; that has the same in records.
const memoryFile = "breaker.json"

// recall returns what is to come into force at a start with the rules in shadow that had lost their action
// before. A file that cannot be read is no reason not to start: rules that hit too much trip again.
func (d *daemon) recall(force pipeline.Force) (pipeline.Force, error) {
	m, err := readMemory(filepath.Join(d.cfg.Evidence.Dir, memoryFile))
	if err != nil {
		d.log.Error("what was decided about rules that hit too much is not known any more: all have their action", "err", err)
	}
	force, err = inShadow(force, func(id string) bool {
		return m[id].Trip != nil && m[id].Fingerprint == force.Rules.Fingerprint(id)
	})
	if ids := force.Rules.InShadow(); len(ids) > 0 {
		d.log.Error("rules are without their action, because they hit too much before the start", "rules", ids)
	}
	return force, err
}

func readMemory(file string) (pipeline.Memory, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m pipeline.Memory
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s is not what Weir writes; remove it: %w", file, err)
	}
	return m, nil
}

// remember writes what was decided for the next start, whole or not at all. If the process dies before, the
// next one knows what was decided until then.
func (r *reloader) remember() {
	text, err := json.Marshal(r.breaker.Memory())
	if err == nil {
		err = os.WriteFile(r.breaker.file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(r.breaker.file+".new", r.breaker.file)
	}
	if err != nil {
		r.log.Error("keep what was decided about rules that hit too much", "err", err)
	}
}
