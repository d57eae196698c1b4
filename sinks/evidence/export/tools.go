package export

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"

	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// files are what every package holds to be checked with, and the instructions.
//
//go:embed files
var files embed.FS

// writeTools writes the scripts as they are and the instructions with the facts of
// this package.
func (p *packer) writeTools() error {
	for _, name := range []string{"verify.py", "verify.sh"} {
		b, err := files.ReadFile("files/" + name)
		if err != nil {
			return err
		}
		if err := p.put("data/verify/"+name, b); err != nil {
			return err
		}
	}
	if err := p.put("data/schema/body.proto", []byte(body.Source)); err != nil {
		return err
	}
	for _, name := range []string{"README.en.md", "README.zh.md"} {
		t, err := template.ParseFS(files, "files/"+name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p.extraction()); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := p.put(payload+name, b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
