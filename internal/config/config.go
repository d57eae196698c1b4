// Package config reads Weir's one configuration file: strict YAML composed of
// the Config of each package that has settings.
//
// What it is not: it interprets nothing. Every package says what its section
// means and what is wrong with it; this package adds the line and column. The
// one thing to know: all problems of a file are reported at once.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/ask"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// Config is the whole file.
type Config struct {
	// Source names this deployment: it is part of every id and of the evidence
	// log's origin, so it must not change while offsets are kept.
	Source string `yaml:"source"`
	// Instance names this process among those of the deployment; each has an
	// evidence log of its own.
	Instance string `yaml:"instance"`

	Kafka    kafka.Config    `yaml:"kafka"`
	Input    ingest.Config   `yaml:"input"`
	Output   sinks.Config    `yaml:"output"`
	Events   event.Config    `yaml:"events"`
	Rules    rules.Config    `yaml:"rules"`
	Push     push.Config     `yaml:"push"`
	Evidence evidence.Config `yaml:"evidence"`
	Anchors  anchor.Config   `yaml:"anchors"`
	Admin    admin.Config    `yaml:"admin"`
	API      ask.Config      `yaml:"api"`

	Tracing trace.Config       `yaml:"tracing"`
	Log     pipeline.LogConfig `yaml:"log"`
}

// Digest names what is configured: a SHA-256 in hex of all settings as this version reads them, defaults
// included. It says nothing of what stands in the files that settings name.
func (c *Config) Digest() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("config: a setting that JSON cannot say: %v", err)) // a test says that there is none
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Default returns the configuration before the file is read.
func Default() Config {
	return Config{
		Source:   "weir",
		Instance: "0",
		Kafka:    kafka.DefaultConfig(),
		Input:    ingest.DefaultConfig(),
		Output:   sinks.DefaultConfig(),
		Events:   event.DefaultConfig(),
		Rules:    rules.DefaultConfig(),
		Push:     push.DefaultConfig(),
		Evidence: evidence.DefaultConfig(),
		Anchors:  anchor.DefaultConfig(),
		API:      ask.DefaultConfig(),
		Tracing:  trace.DefaultConfig(),
		Log:      pipeline.DefaultLogConfig(),
	}
}

// instanceVariable gives the process its name where many share one file, as the pods of a StatefulSet do: it goes before the
// file's. It is read here rather than by a flag of weir run, so that every verb that looks at evidence means the same log.
const instanceVariable = "WEIR_INSTANCE"

// Load reads the file at path. Relative paths inside it are relative to its folder. The environment
// variable WEIR_INSTANCE, if it is set, goes before what the file has for instance.
func Load(path string) (*Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(path, src)
	if err != nil {
		return nil, err
	}
	if name := os.Getenv(instanceVariable); name != "" {
		if !nameShape.MatchString(name) {
			return nil, fmt.Errorf("environment variable %s: not a name; use 1 to 63 of a-z 0-9 . - beginning with a letter or digit", instanceVariable)
		}
		c.Instance = name
	}
	return c, nil
}

// Parse reads a configuration. The file name is used in messages and to resolve
// relative paths. The error, if any, lists every problem found.
func Parse(file string, src []byte) (*Config, error) {
	c := Default()
	doc, err := strictyaml.Decode(file, src, &c)
	problems, _ := errors.AsType[strictyaml.Problems](err)
	unread := len(problems)
	for _, p := range c.problems(doc) {
		// Where a value could not be read its default still stands; what is wrong
		// with that is not what the user wrote.
		if !slices.ContainsFunc(problems[:unread], func(u *strictyaml.Problem) bool { return u.Path == p.Path && u.Line == p.Line }) {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	if c.PushesOn() {
		// The one topic that is both output and input: what is deferred comes back.
		c.Input.Deferred, c.Input.Ring = c.Output.Deferred, c.Output.Ring()
	}
	c.resolve(filepath.Dir(file))
	return &c, nil
}

// problems asks every section what is wrong with it.
func (c *Config) problems(doc *strictyaml.Document) strictyaml.Problems {
	var list strictyaml.Problems
	add := func(section string, err error) { list = append(list, doc.Located(section, err)...) }
	add("", c.validate())
	add("kafka", c.Kafka.Validate())
	add("input", c.Input.Validate())
	add("input", c.Input.Refuse(append(c.Output.Topics(), c.Rules.Receipts, c.Output.Checkpoints), "is also an output: Weir would read what it writes"))
	add("input", c.Input.Refuse([]string{c.Rules.Topic}, "is that of the rules"))
	add("input", c.Input.Refuse([]string{c.Input.Halts}, "is that of the halts, of which every process reads the whole"))
	if t := c.Output.Checkpoints; t != "" && slices.Contains([]string{c.Rules.Topic, c.Rules.Receipts}, t) {
		add("output", fmt.Errorf("checkpoints: the topic %s has another use; name one of its own, such as weir.checkpoints", t))
	}
	if t := c.Input.Halts; t != "" && slices.Contains(append(c.Output.Topics(), c.Rules.Topic, c.Rules.Receipts, c.Output.Checkpoints), t) {
		add("input", fmt.Errorf("halts: the topic %s has another use; name one of its own, such as weir.halts", t))
	}
	add("output", c.Output.Validate())
	add("events", c.Events.Validate())
	add("rules", c.Rules.Validate())
	add("evidence", c.Evidence.Retention.Apply(retentionPresets()))
	add("evidence", c.Evidence.Validate())
	add("evidence.master_key", c.Evidence.MasterKey.Validate())
	add("anchors", c.Anchors.Validate())
	add("tracing", c.Tracing.Validate())
	add("log", c.Log.Validate())
	add("api", c.API.Validate())
	if c.Anchors.NeedsTopic() && c.Output.Checkpoints == "" {
		add("output", errors.New("checkpoints: no topic, but anchors.every or anchors.unpublished_limit is set; name the compacted topic of heads, such as weir.checkpoints"))
	}
	if c.PushesOn() {
		add("push", c.Push.Validate())
	}
	return list
}

// retentionPresets are the periods that Weir ships.
func retentionPresets() map[string]retention.Preset {
	const name = "retention.yaml"
	src, err := configs.FS.ReadFile(name)
	if err == nil {
		var presets map[string]retention.Preset
		if presets, err = retention.ParsePresets(name, src); err == nil {
			return presets
		}
	}
	panic(err) // it is in the binary, and a test reads it
}

var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// validate looks at what no section can see alone.
func (c *Config) validate() error {
	var errs []error
	if !nameShape.MatchString(c.Source) {
		errs = append(errs, errors.New("source: not a name; use 1 to 63 of a-z 0-9 . - beginning with a letter or digit"))
	}
	if !nameShape.MatchString(c.Instance) {
		errs = append(errs, errors.New("instance: not a name; use 1 to 63 of a-z 0-9 . - beginning with a letter or digit"))
	}
	if c.PushesOn() {
		if c.Output.Cleared == "" {
			errs = append(errs, errors.New("output.cleared: no topic; pushes are on (input.pushes), so name the topic allowed pushes go to, such as weir.cleared"))
		}
		if c.Output.Deferred == "" {
			errs = append(errs, errors.New("output.deferred: no topic; pushes are on (input.pushes), so name the topic deferred pushes go to, such as weir.deferred"))
		}
		if c.Output.Decisions == "" {
			errs = append(errs, errors.New("output.decisions: no topic; pushes are on (input.pushes), so name the topic of all decisions, such as weir.decisions"))
		}
	} else if len(c.Input.Consent) > 0 || len(c.Input.Outcomes) > 0 || c.Input.Halts != "" {
		errs = append(errs, errors.New("input.pushes: no topic, but input.consent, input.outcomes or input.halts has one; name the topic of pushes or remove the others"))
	}
	return errors.Join(errs...)
}

// PushesOn reports whether a topic of pushes is named; everything about pushes
// is off until then.
func (c *Config) PushesOn() bool { return len(c.Input.Pushes) > 0 }

// resolve makes relative paths relative to the configuration's folder, so that
// it does not matter where Weir is started.
func (c *Config) resolve(dir string) {
	paths := []*string{
		&c.Evidence.Dir, &c.Rules.Dir, &c.Rules.Categories, &c.Rules.Words, &c.Rules.Exclusions, &c.Rules.Benign, &c.Push.Policy,
		&c.Admin.WebConfigFile, &c.Evidence.KeyFile, &c.Evidence.MasterKey.File, &c.Evidence.Postgres.DSNFile, &c.Evidence.Postgres.KeysDSNFile,
	}
	for _, f := range c.credentials() {
		paths = append(paths, f.path)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// credential is a setting that names a file with a certificate or a secret.
type credential struct {
	setting string
	kind    dial.Kind
	path    *string
}

func (c *Config) credentials() []credential {
	list := []credential{
		{"kafka.sasl.password_file", dial.Private, &c.Kafka.SASL.PasswordFile},
		{"kafka.sasl.oauth.token_file", dial.Private, &c.Kafka.SASL.OAuth.TokenFile},
		{"kafka.sasl.oauth.client_secret_file", dial.Private, &c.Kafka.SASL.OAuth.ClientSecretFile},
		{"push.pseudonym_key_file", dial.Private, &c.Push.PseudonymKeyFile},
		{"push.redis.password_file", dial.Private, &c.Push.Redis.PasswordFile},
		{"tracing.token_file", dial.Private, &c.Tracing.TokenFile},
		{"anchors.timestamp.ca_file", dial.Authorities, &c.Anchors.Timestamp.CAFile},
		{"anchors.peer_login.password_file", dial.Private, &c.Anchors.PeerLogin.PasswordFile},
		{"anchors.peer_login.ca_file", dial.Authorities, &c.Anchors.PeerLogin.CAFile},
		{"anchors.peer_login.cert_file", dial.Certificate, &c.Anchors.PeerLogin.CertFile},
		{"anchors.peer_login.key_file", dial.Private, &c.Anchors.PeerLogin.KeyFile},
	}
	list = append(list,
		credential{"api.tls.cert_file", dial.Certificate, &c.API.TLS.CertFile},
		credential{"api.tls.key_file", dial.Private, &c.API.TLS.KeyFile},
		credential{"api.tls.client_ca_file", dial.Authorities, &c.API.TLS.ClientCAFile})
	for i := range c.API.TokenFiles {
		list = append(list, credential{fmt.Sprintf("api.token_files[%d]", i), dial.Private, &c.API.TokenFiles[i]})
	}
	for _, t := range []struct {
		at  string
		tls *dial.TLS
	}{{"kafka.tls", &c.Kafka.TLS}, {"kafka.sasl.oauth.tls", &c.Kafka.SASL.OAuth.TLS}, {"push.redis.tls", &c.Push.Redis.TLS}, {"tracing.tls", &c.Tracing.TLS}} {
		list = append(list,
			credential{t.at + ".ca_file", dial.Authorities, &t.tls.CAFile},
			credential{t.at + ".cert_file", dial.Certificate, &t.tls.CertFile},
			credential{t.at + ".key_file", dial.Private, &t.tls.KeyFile})
	}
	return list
}

// Credentials returns the files with certificates and secrets that are read again
// while Weir runs, those that are named.
func (c *Config) Credentials() []dial.File {
	var files []dial.File
	for _, f := range c.credentials() {
		if *f.path != "" {
			files = append(files, dial.File{Setting: f.setting, Path: *f.path, Kind: f.kind})
		}
	}
	return files
}
