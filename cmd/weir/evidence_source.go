package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
	"github.com/weir-moderation/weir/sinks/evidence/export"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// sourceFlags say which log is read, and with which keys.
type sourceFlags struct {
	Config     string `help:"The configuration of the daemon that wrote the log: it says where master key and signing key are. Without it they are beside the log." placeholder:"FILE" type:"existingfile"`
	Key        string `help:"The log's public key, as text or as a file; without it the key beside the log." placeholder:"KEY"`
	Generation string `help:"Which log, where the directory holds several; without it the one of the public key." placeholder:"NAME"`
	escrowFlags
}

// requestFlags say which records are meant, who asks for them and why.
type requestFlags struct {
	ID       []string  `help:"Records with these ids." placeholder:"ID"`
	Event    string    `help:"Records about this event, by the platform's id of it." placeholder:"ID"`
	Subject  string    `help:"Records about this user, by the platform's id; or pseudonym:NAME, by the name a user has in Redis." placeholder:"USER"`
	Category string    `help:"Records of hits in this category." placeholder:"CODE"`
	Rule     string    `help:"Records of hits of this rule." placeholder:"ID"`
	Kind     []string  `help:"Only records of these kinds: hit, push, deadletter, ..." placeholder:"KIND"`
	From     time.Time `help:"Only records that were recorded at this time or later, such as 2026-11-24T08:30:00Z." placeholder:"TIME"`
	To       time.Time `help:"Only records that were recorded before this time." placeholder:"TIME"`
	Scan     bool      `help:"Read every body instead of asking the indexes; finds also what was written without encryption."`

	Who     string `help:"Who asks, by name; without it the user of this process." placeholder:"NAME"`
	Purpose string `help:"What it is for. It is put on record." placeholder:"TEXT"`
	Basis   string `help:"The law, order or request by which this may be seen. It is put on record." placeholder:"TEXT"`
}

// request reads the flags. What is missing is misuse: nothing has happened yet.
func (f *requestFlags) request() (export.Request, error) {
	r := export.Request{Who: f.Who, Purpose: f.Purpose, Basis: f.Basis, Query: export.Query{
		Event: f.Event, Subject: f.Subject, Category: f.Category, Rule: f.Rule, From: f.From, To: f.To, Scan: f.Scan,
	}}
	var errs []error
	for _, id := range f.ID {
		b, err := hex.DecodeString(id)
		if err != nil || len(b) != len(evidence.ID{}) {
			errs = append(errs, fmt.Errorf("--id: %q is none; an id has 32 hex digits", id))
			continue
		}
		r.Query.IDs = append(r.Query.IDs, evidence.ID(b))
	}
	for _, word := range f.Kind {
		i := slices.IndexFunc(evidence.Kinds(), func(k evidence.Kind) bool { return k.String() == word })
		if i < 0 {
			errs = append(errs, fmt.Errorf("--kind: %q is none; sinks/evidence/FORMAT.md lists them, such as hit, push, deadletter, consent", word))
			continue
		}
		r.Query.Kinds = append(r.Query.Kinds, evidence.Kinds()[i])
	}
	if r.Who == "" {
		if u, err := user.Current(); err == nil {
			r.Who = u.Username
		}
	}
	for _, must := range []struct{ flag, text string }{{"--purpose", r.Purpose}, {"--basis", r.Basis}, {"--who", r.Who}} {
		if strings.TrimSpace(must.text) == "" {
			errs = append(errs, fmt.Errorf("%s: none given; who sees evidence says why and by what right, and that is put on record first", must.flag))
		}
	}
	return r, errors.Join(errs...)
}

// openedSource is a log open for reading, and the way to append to it.
type openedSource struct {
	*export.Source
	vkey    string
	keyFile string // of the log's signing key
	desk    desk.Options
	ring    *keys.Ring
}

// open opens the log in dir for reading, with its keys if there are any.
func (f *sourceFlags) open(dir string) (_ *openedSource, err error) {
	o := new(openedSource)
	if f.Config != "" {
		cfg, err := loadConfig(f.Config)
		if err != nil {
			return nil, err
		}
		o.desk, o.keyFile = app.DeskOptions(cfg), cfg.Evidence.KeyFile
	}
	if o.vkey, err = logKey(dir, f.Key); err != nil {
		return nil, &codeError{err, exitMisuse}
	}
	v, err := note.NewVerifier(o.vkey)
	if err != nil {
		return nil, &codeError{fmt.Errorf("--key: %w; it is one line of the form <origin>+<hash>+<key>", err), exitMisuse}
	}
	generation := filepath.Base(v.Name())
	if f.Generation != "" && f.Generation != generation {
		return nil, &codeError{fmt.Errorf("--generation: the public key is of generation %s; give that of %s with --key", generation, f.Generation), exitMisuse}
	}
	if o.keyFile == "" {
		o.keyFile = filepath.Join(dir, "log."+generation+".key")
	}
	o.desk.Log.Dir, o.desk.Log.Origin, o.desk.Log.KeyFile = dir, v.Name(), o.keyFile
	if evidence.HasKeys(dir) {
		// Keys that were destroyed may be back from a copy of the directory; the log knows.
		erased, err := desk.Erased(dir)
		if err != nil {
			return nil, err
		}
		if o.ring, err = evidence.OpenKeys(dir, keys.Options{Master: o.desk.Master, ReadOnly: true, Erased: erased}); err != nil {
			return nil, err
		}
	}
	if err := f.lend(o.ring); err != nil {
		return nil, errors.Join(err, o.closeKeys())
	}
	if o.Source, err = export.Open(dir, generation, o.ring); err != nil {
		return nil, errors.Join(err, o.closeKeys())
	}
	return o, nil
}

func (o *openedSource) closeKeys() error {
	if o.ring == nil {
		return nil
	}
	return o.ring.Close()
}

func (o *openedSource) close() error { return errors.Join(o.Close(), o.closeKeys()) }

// record appends a statement to the log, by the daemon that holds it or, where none
// runs, by itself; then the log is signed when this returns.
func (o *openedSource) record(ctx context.Context, kind evidence.Kind, body any) (index int64, id evidence.ID, err error) {
	c, err := desk.Dial(ctx, o.desk)
	if err != nil {
		return 0, evidence.ID{}, err
	}
	index, id, err = c.Append(ctx, kind, body)
	return index, id, errors.Join(err, c.Close())
}

// signerFrom reads a signing key and returns it with its verifier key.
func signerFrom(path string) (note.Signer, string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("sign with which key? %w; name one with --sign-key, or the daemon's configuration with --config", err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read signing key: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, "", fmt.Errorf(`%s: not a signing key; it is one line that begins with "PRIVATE+KEY+"`, path)
	}
	part := strings.SplitN(secret, "+", 5)
	data, err := base64.StdEncoding.DecodeString(part[len(part)-1])
	if err != nil || len(data) != 1+ed25519.SeedSize {
		return nil, "", fmt.Errorf("%s: not an Ed25519 signing key", path)
	}
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey))
	return signer, vkey, err
}
