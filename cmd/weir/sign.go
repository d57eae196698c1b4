package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/rules"
)

// privateKey is how the text of a private key begins. Such a text is never printed, nor published.
const privateKey = "PRIVATE+KEY+"

type keygenCmd struct {
	Name string `arg:"" help:"The name of the key, such as rules.example.org; it stands in every signature."`
	Out  string `help:"The file for the private key, rules.key unless another is named. It must not exist." default:"rules.key" placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (keygenCmd) Help() string {
	return `The private key goes into the file, which only its owner can read, and is never printed. The public key goes to stdout: it is the value of rules.verify_key in the configuration. Keep the private key where rules are published, not where they are judged by.`
}

// Run makes a key pair.
func (c *keygenCmd) Run(s streams) error {
	if err := makeKey(s.out, c.Name, c.Out); err != nil {
		return err
	}
	s.hint(fmt.Sprintf("the private key is in %s; put the line above into the configuration as rules.verify_key, and sign with: weir rules sign DIR --key %s", c.Out, c.Out))
	return nil
}

// makeKey makes a pair of keys, writes the private one to a new file and says the public one.
func makeKey(w io.Writer, name, file string) error {
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	if _, err := note.NewVerifier(public); err != nil { // it makes keys of names it cannot read again
		return &codeError{fmt.Errorf("%q is no name of a key; give one without spaces and +, such as rules.example.org", name), exitMisuse}
	}
	if err := writeNew(file, secret+"\n"); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return &hintError{fmt.Errorf("%s exists, and a key is never overwritten", file), "name another file with --out"}
		}
		return fmt.Errorf("write private key: %w", err)
	}
	_, err = fmt.Fprintln(w, public)
	return err
}

// writeNew writes a file that did not exist, for its owner alone.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a key is none
	}
	return nil
}

type signCmd struct {
	setFlags
	Dir string `arg:"" help:"Directory of packs."`
	Key string `required:"" help:"The file with the private key that weir rules keygen made." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (signCmd) Help() string {
	return `Signs the packs of a directory, their tests and their files of terms as they are, into DIR/rules.sig. Rules that do not load, or fail their own tests, are not signed. Any change after it, also of a comment, takes another signature. With --config the rules are loaded with its limits and lists, and the key must be the one of rules.verify_key if there is one.`
}

// Run signs a rule set.
func (c *signCmd) Run(s streams) error {
	signer, err := readSigner(c.Key)
	if err != nil {
		return err
	}
	one := ruleFlags{Categories: c.Categories, Config: c.Config}
	cfg, err := one.read()
	if err != nil {
		return err
	}
	verifyKey := cfg.Rules.VerifyKey
	cfg.Rules.VerifyKey = "" // it is not signed yet
	set, err := proveRules(&cfg.Rules, c.Dir)
	if err != nil {
		return err
	}
	bundle, text, err := set.Bundle.Sign(signer, time.Now())
	if err != nil {
		return err
	}
	if verifyKey != "" {
		verifier, err := note.NewVerifier(verifyKey)
		if err != nil {
			return fmt.Errorf("rules.verify_key: %w", err)
		}
		if _, err := bundle.Verify(verifier); err != nil {
			return fmt.Errorf("the key in %s is not the one of rules.verify_key, so what it signs would be refused", c.Key)
		}
	}
	signature := filepath.Join(c.Dir, rules.SignatureFile)
	if err := replaceFile(signature, text, 0o644); err != nil { // it is for all to read
		return fmt.Errorf("write signature: %w", err)
	}
	fmt.Fprintf(s.out, "signed %s with %s+%08x: bundle %s\n", signature, signer.Name(), signer.KeyHash(), bundle.Digest())
	return nil
}

// proveRules loads the packs of a directory as a daemon would, and runs their tests.
func proveRules(c *rules.Config, dir string) (*app.RuleSet, error) {
	one := *c
	one.Dir, one.Topic = dir, ""
	set, err := app.OpenRules(&one)
	if err != nil {
		return nil, err
	}
	return set, prove(set)
}

// prove runs the tests of a set, and sees that what is signed or published may be read by all.
func prove(set *app.RuleSet) error {
	if err := set.Prove(); err != nil {
		return err
	}
	if bytes.Contains(set.Bundle.Text(), []byte(privateKey)) {
		return fmt.Errorf("a file in %s holds a private key; keep it elsewhere, where it is not published with the rules", set.Dir)
	}
	return nil
}

// readSigner reads a private key. What is in the file is in no message.
func readSigner(path string) (note.Signer, error) {
	if strings.Contains(path, privateKey) {
		return nil, &codeError{errors.New("--key: give the file with the private key, never the key itself: others can see the command line"), exitMisuse}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if _, err := note.NewVerifier(key); err == nil { // which anybody may read
		return nil, fmt.Errorf("%s holds a public key; sign with the private one, which weir rules keygen wrote into a file", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 { // as for the key of evidence
		return nil, fmt.Errorf("private key %s has mode %04o, so others can use it; run: chmod 600 %s", path, mode, path)
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("%s: not a private key; it is the one line that weir rules keygen wrote, and begins with %s", path, privateKey)
	}
	return signer, nil
}

type verifyRulesCmd struct {
	Dir    string `arg:"" help:"Directory of packs."`
	Key    string `help:"The public key, as text or as a file." placeholder:"KEY" xor:"key"`
	Config string `help:"Take the key from this configuration file (rules.verify_key)." placeholder:"FILE" type:"path" xor:"key"`
}

// Run checks the signature of a rule set.
func (c *verifyRulesCmd) Run(s streams) error {
	verifier, err := c.verifier()
	if err != nil {
		return err
	}
	bundle, err := rules.ReadBundle(os.DirFS(c.Dir), c.Dir)
	if err != nil {
		return err
	}
	if err := bundle.Check(c.Dir); err != nil { // two sets of files must not be one text
		return err
	}
	at, err := bundle.Verify(verifier)
	switch {
	case errors.Is(err, rules.ErrUnsigned):
		return fmt.Errorf("%s has no %s; it is not signed", c.Dir, rules.SignatureFile)
	case err != nil:
		return err
	}
	fmt.Fprintf(s.out, "%s is as it was signed on %s with %s+%08x: bundle %s\n",
		c.Dir, at.Format(time.RFC3339), verifier.Name(), verifier.KeyHash(), bundle.Digest())
	return nil
}

// verifier reads the public key.
func (c *verifyRulesCmd) verifier() (note.Verifier, error) {
	key, from := c.Key, "--key"
	switch {
	case c.Config != "":
		cfg, err := loadConfig(c.Config)
		if err != nil {
			return nil, err
		}
		if key, from = cfg.Rules.VerifyKey, c.Config; key == "" {
			return nil, fmt.Errorf("%s has no rules.verify_key; give the key with --key", c.Config)
		}
	case key == "":
		return nil, &codeError{errors.New("signed by whom? give --key, or --config"), exitMisuse}
	default:
		if text, err := os.ReadFile(key); err == nil {
			key, from = strings.TrimSpace(string(text)), key
		}
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		if strings.HasPrefix(key, privateKey) {
			return nil, &codeError{fmt.Errorf("%s: a private key; give the public one, which weir rules keygen printed", from), exitMisuse}
		}
		return nil, &codeError{fmt.Errorf("%s: not a public key, nor a file with one; it is the line that weir rules keygen printed, such as rules+1a2b3c4d+AbCd", from), exitMisuse}
	}
	return verifier, nil
}
