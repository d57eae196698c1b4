package demo

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
)

// The files of a demo, inside its folder.
const (
	configFile   = "weir.yaml"
	evidenceDir  = "evidence"
	evidenceKey  = "evidence.key"
	pseudonymKey = "pseudonym.key"
)

// group is the consumer group the daemon of the city joins.
const group = "weir-demo"

var configTemplate = template.Must(template.New(configFile).Parse(
	`# Written by weir demo. The broker and the Redis it names live inside the demo's
# process and end with it; the rules and the push policy are the ones in the
# binary. Relative paths are relative to this file.

source: {{.Source}}

kafka:
  brokers:{{range .Brokers}}
    - {{.}}{{end}}

input:
  group: {{.Group}}
  posts: {{.Posts}}
  pushes: {{.Pushes}}
  consent: {{.Consent}}
  outcomes: {{.Outcomes}}
  halts: {{.Halts}}

output:
  review: {{.Review}}
  decisions: {{.Decisions}}
  cleared: {{.Cleared}}
  deferred: {{.Deferred}}
  deferred_turn: 5m    # a push that had to wait comes within a quarter of an hour of its time
  deferred_spread: 5m
  deadletter: {{.DeadLetter}}
  checkpoints: {{.Checkpoints}}

push:
  pseudonym_key_file: {{.PseudonymKey}}
  redis:
    addrs:
      - {{.Redis}}

evidence:
  dir: {{.EvidenceDir}}
  key_file: {{.EvidenceKey}}

api:
  listen: 127.0.0.1:0 # POST a post or a push to /v1/judge, and its verdict comes back
`))

// renderConfig returns the configuration of a daemon that lives in this world.
func (w *World) renderConfig() ([]byte, error) {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, map[string]any{
		// The broker is new in every demo, so offsets begin at 0 again; a name
		// of its own keeps the ids of this demo apart from those of another.
		"Source":  "demo-" + w.began.UTC().Format("20060102-150405"),
		"Brokers": w.Brokers(), "Redis": w.RedisAddr(), "Group": group,
		"Posts": topicPosts, "Pushes": topicPushes, "Consent": topicConsent, "Outcomes": topicOutcomes, "Halts": topicHalts,
		"Review": topicReview, "Decisions": topicDecisions, "Cleared": topicCleared,
		"Deferred": topicDeferred, "DeadLetter": topicDeadLetter, "Checkpoints": topicCheckpoints,
		"PseudonymKey": pseudonymKey, "EvidenceDir": evidenceDir, "EvidenceKey": evidenceKey,
	})
	if err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	return b.Bytes(), nil
}

// furnish makes the folder of a demo and puts the configuration and the key of
// the pseudonyms into it. A folder that already holds a demo is refused: its
// evidence speaks of a broker that is gone, and two stories in one log help nobody.
func (w *World) furnish() error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	for _, name := range []string{configFile, evidenceDir, evidenceKey, pseudonymKey} {
		switch _, err := os.Lstat(filepath.Join(w.dir, name)); {
		case err == nil:
			return fmt.Errorf("%s already holds %s; name a folder that is new or empty", w.dir, name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look into the demo's folder: %w", err)
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(filepath.Join(w.dir, pseudonymKey), key, 0o600); err != nil {
		return fmt.Errorf("write the key of the pseudonyms: %w", err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, configFile), w.config, 0o600); err != nil {
		return fmt.Errorf("write the demo's configuration: %w", err)
	}
	return nil
}
