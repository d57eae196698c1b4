package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// Config is the "evidence" section of the configuration file. The log's origin
// is composed from other sections and given in [Options].
type Config struct {
	// Dir holds the log. One directory, one writer.
	Dir string `yaml:"dir"`
	// Postgres keeps the log in a database, for pods without a disk that lasts; Dir is then
	// a working copy that is made anew at each start.
	Postgres Postgres `yaml:"postgres"`
	// KeyFile holds the key that signs checkpoints. It is created, readable by
	// its owner only, when the log is started for the first time. Empty means
	// log.<generation>.key in Dir; whoever then can write Dir can also forge the
	// log, so outside a trial name a file on other storage.
	KeyFile string `yaml:"key_file"`
	// Generation names the log within Dir. Choosing a new one starts a new log
	// beside the old, which is the way out when the old one refuses to open.
	Generation string `yaml:"generation"`
	// CheckpointEvery is how long a record may wait to be covered by a signature.
	CheckpointEvery time.Duration `yaml:"checkpoint_every"`
	// SegmentBytes is the size above which a new segment file is begun.
	SegmentBytes int64 `yaml:"segment_bytes"`
	// Encrypt says whether bodies that are about people are encrypted. What was
	// written before a change stays as it is.
	Encrypt bool `yaml:"encrypt"`
	// MasterKey says where the key is that wraps the keys of the bodies.
	MasterKey keys.Config `yaml:"master_key"`
	// SegmentRecords is how many records a segment has at most, or a group more.
	SegmentRecords int64 `yaml:"segment_records"`
	// Seal has full segments sealed: bodies are moved to files by class and day,
	// which can be destroyed, and indexed. Without it nothing can be destroyed.
	Seal bool `yaml:"seal"`
	// SealAfter is how long a body may wait in a segment that is not full.
	SealAfter time.Duration `yaml:"seal_after"`
	// ScrubEvery is how often everything is read again, to find what the disk has
	// lost; 0 means never.
	ScrubEvery time.Duration `yaml:"scrub_every"`
	// BallastBytes is room on the disk that is kept for the day on which it is full,
	// so that the log can still say what is done about it; 0 is none.
	BallastBytes int64 `yaml:"ballast_bytes"`
	// Retention says how long bodies are kept, by class.
	Retention retention.Classes `yaml:"retention"`
	// Reviewers are those who may approve that bodies are destroyed, with their public keys.
	Reviewers retention.Reviewers `yaml:"reviewers"`
}

// Postgres says where a log is kept that has no disk of its own. DSNs are in files, for
// they hold passwords: one line each, a URL or words like host=db dbname=evidence.
type Postgres struct {
	// DSNFile names the database of the log; empty: the log is in files.
	DSNFile string `yaml:"dsn_file"`
	// KeysDSNFile names that of the keys: another database, with other backups.
	KeysDSNFile string `yaml:"keys_dsn_file"`
}

// On reports whether the log is kept in a database.
func (p *Postgres) On() bool { return p.DSNFile != "" }

// validatePostgres reports what a log in a database needs and has not. What is in Dir by
// default would be gone with the pod.
func (c *Config) validatePostgres() error {
	p := &c.Postgres
	switch {
	case *p == Postgres{}:
		return nil
	case p.DSNFile == "":
		return errors.New("postgres.dsn_file: none given, but postgres.keys_dsn_file is; name the file with the DSN of the log's database")
	}
	var errs []error
	if c.KeyFile == "" {
		errs = append(errs, errors.New("key_file: none given, and with evidence.postgres dir does not last; name a file that does, such as a mounted secret"))
	}
	if c.Encrypt && p.KeysDSNFile == "" {
		errs = append(errs, errors.New("postgres.keys_dsn_file: none given; name the file with the DSN of the database of the keys, which is another one than the log's"))
	}
	if p.KeysDSNFile != "" && p.KeysDSNFile == p.DSNFile {
		errs = append(errs, errors.New("postgres.keys_dsn_file: the same as postgres.dsn_file; keys belong into a database with backups of its own: whoever has an old copy of both can read what was destroyed since"))
	}
	if p.KeysDSNFile != "" && c.MasterKey.File == "" && len(c.MasterKey.Command) == 0 {
		errs = append(errs, errors.New("master_key.file: none given, and with evidence.postgres dir does not last; name a file that does, such as a mounted secret, or a command"))
	}
	return errors.Join(errs...)
}

// DefaultConfig returns the settings of a log in ./evidence.
func DefaultConfig() Config {
	return Config{
		Dir:             "evidence",
		Generation:      "1",
		CheckpointEvery: defaultCheckpointEvery,
		SegmentBytes:    defaultSegmentBytes,
		Encrypt:         true,
		MasterKey:       keys.DefaultConfig(),
		SegmentRecords:  defaultSegmentRecords,
		Seal:            true,
		SealAfter:       defaultSealAfter,
		ScrubEvery:      defaultScrubEvery,
		BallastBytes:    defaultBallastBytes,
	}
}

const (
	defaultCheckpointEvery = time.Second
	minCheckpointEvery     = 10 * time.Millisecond
	maxCheckpointEvery     = time.Minute

	defaultSegmentBytes = 1 << 30
	minSegmentBytes     = 1 << 20
	maxSegmentBytes     = 1 << 31 // offsets in an index have four bytes

	defaultSegmentRecords = 1 << 17
	minSegmentRecords     = 1 << 10
	maxSegmentRecords     = 1 << 24

	defaultSealAfter = 10 * time.Minute
	minSealAfter     = time.Second

	defaultScrubEvery = 7 * 24 * time.Hour
	minScrubEvery     = time.Minute

	defaultBallastBytes = 64 << 20
	minBallastBytes     = 1 << 20
)

// Validate reports what is wrong with the section, each error beginning with
// the field's name.
func (c *Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir: none given; name the directory that holds the evidence log"))
	}
	if !isFileName(c.Generation) {
		errs = append(errs, fmt.Errorf("generation: %q; use 1 to %d of the characters a-z A-Z 0-9 . _ -, such as 1", c.Generation, maxGeneration))
	}
	if c.CheckpointEvery < minCheckpointEvery || c.CheckpointEvery > maxCheckpointEvery {
		errs = append(errs, fmt.Errorf("checkpoint_every: %v; use %v up to %v", c.CheckpointEvery, minCheckpointEvery, maxCheckpointEvery))
	}
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes {
		errs = append(errs, fmt.Errorf("segment_bytes: %d; use %d up to %d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes))
	}
	if c.SegmentRecords < minSegmentRecords || c.SegmentRecords > maxSegmentRecords {
		errs = append(errs, fmt.Errorf("segment_records: %d; use %d up to %d", c.SegmentRecords, minSegmentRecords, maxSegmentRecords))
	}
	if c.SealAfter < minSealAfter {
		errs = append(errs, fmt.Errorf("seal_after: %v; use at least %v", c.SealAfter, minSealAfter))
	}
	if c.ScrubEvery != 0 && c.ScrubEvery < minScrubEvery {
		errs = append(errs, fmt.Errorf("scrub_every: %v; use at least %v, or 0 for never", c.ScrubEvery, minScrubEvery))
	}
	if c.BallastBytes != 0 && c.BallastBytes < minBallastBytes {
		errs = append(errs, fmt.Errorf("ballast_bytes: %d; use at least %d, or 0 for none", c.BallastBytes, minBallastBytes))
	}
	errs = append(errs, c.validatePostgres())
	errs = append(errs, retention.Validate(c.Retention, c.Reviewers))
	return errors.Join(errs...)
}

// OpenKeys opens the keys of the bodies in the evidence directory dir: to write with
// them, or only to read.
func OpenKeys(dir string, o keys.Options) (*keys.Ring, error) {
	ring, err := keys.Open(filepath.Join(dir, keysDir), o)
	if err != nil {
		return nil, fmt.Errorf("open the keys of the evidence in %s: %w", dir, err)
	}
	return ring, nil
}

// HasKeys reports whether anything in the evidence directory dir may be encrypted.
func HasKeys(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, keysDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// keysDir holds the keys within the evidence directory.
const keysDir = "keys"
