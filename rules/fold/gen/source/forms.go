package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The archives that only the tables of rules/form and the word lists of
// configs/words need. The licences of the data are in rules/form/NOTICE.
var (
	// Entities holds the named character references of HTML as a JavaScript module.
	Entities = Archive{
		File:   "character-entities-2.0.2.tgz",
		SHA256: "0805c120e1147a250a87ed8752265b3bce7a76c44e9728dec1d11380e21fbc3d",
		Client: []string{"npm", "pack", "--silent", "character-entities@2.0.2"},
	}
	// Scowl holds English words in files by how common they are.
	Scowl = Archive{
		File:   "scowl_2020.12.07-2_all.deb",
		SHA256: "de692546df9b169f2cbdf4d8d88111a374733a9c382b820a6f943914ca705718",
		Client: []string{"apt-get", "download", "-qq", "scowl=2020.12.07-2"},
	}
)

// Module is a Go module that is read as data, not imported.
type Module struct {
	Path    string
	Version string
	Sum     string // as go.sum has it
}

// Gse holds a dictionary of Chinese words with their frequencies.
var Gse = Module{
	Path:    "github.com/go-ego/gse",
	Version: "v0.80.3",
	Sum:     "h1:YNFkjMhlhQnUeuoFcUEd1ivh6SOB764rT8GDsEbDiEg=",
}

// ReadModule downloads a module and returns one of its files, named by its path
// in the module.
func ReadModule(m Module, name string) ([]byte, error) {
	cmd := exec.Command("go", "mod", "download", "-json", m.Path+"@"+m.Version)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("download %s: %w\n%s%s", m.Path, err, out, complaint.Bytes())
	}
	var got struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("read what go mod download says of %s: %w", m.Path, err)
	}
	if got.Sum != m.Sum {
		return nil, fmt.Errorf("%s %s has the sum %s, want %s", m.Path, m.Version, got.Sum, m.Sum)
	}
	return os.ReadFile(filepath.Join(got.Dir, filepath.FromSlash(name)))
}
