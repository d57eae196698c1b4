package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/sinks/evidence/export"
)

type exportCmd struct {
	Dir string `arg:"" help:"The evidence directory." type:"existingdir"`
	Out string `arg:"" help:"The directory to make, or a file that ends in .tar. It must not exist." type:"path"`
	sourceFlags
	requestFlags
	Recipient string `help:"Who is given the package. It is put on record." placeholder:"NAME"`
	Reference string `help:"The number of their request." placeholder:"TEXT"`
	Place     string `help:"Where the evidence was extracted." placeholder:"TEXT"`
	AccessLog bool   `help:"Put all access and export records of the log into the package, not only its own. They name staff."`
	SignKey   string `help:"The key that signs the package, if not that of the log." placeholder:"FILE" type:"path"`
	JSON      bool   `name:"json" help:"Say as JSON what was made."`
}

// Help says what kong cannot know.
func (exportCmd) Help() string {
	return `Makes a package (BagIt 1.0) of the records that all of the flags describe together, with the messages as they were received, the leaves of the log around them, the proofs, the rules that they cite, the records of what was destroyed and held, instructions in Chinese and English, and scripts that check all of it with sha256sum, openssl and python3, without Weir. That it is made, for whom, why and by what right is durable in the log before anything is written; the hash of the package follows when it is complete. It holds what users wrote and who they are: encrypt it for its recipient before it is sent.`
}

// Run makes a package.
func (c *exportCmd) Run(ctx context.Context, s streams) (err error) {
	r, err := c.request()
	if strings.TrimSpace(c.Recipient) == "" {
		err = errors.Join(err, errors.New("--recipient: none given; who is given evidence is put on record first"))
	}
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	src, err := c.open(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	o := export.Order{
		Request: r, Recipient: c.Recipient, Reference: c.Reference, Place: c.Place, AccessLog: c.AccessLog,
		Out: c.Out, VerifierKey: src.vkey, Build: version(),
	}
	if c.SignKey == "" {
		c.SignKey = src.keyFile
	}
	if o.Signer, o.SignerKey, err = signerFrom(c.SignKey); err != nil {
		return &codeError{err, exitMisuse}
	}
	x, err := src.Export(ctx, o, src.record)
	if err != nil {
		return err
	}
	if c.JSON {
		return jsonTo(s.out).Encode(x)
	}
	fmt.Fprintf(s.out, "  package   %s: %s, %s, %d bytes\n", x.Out, count(x.Records, "record"), count(x.Files, "file"), x.Bytes)
	fmt.Fprintf(s.out, "  leaves    records %d up to and not including %d of %d, root %s\n", x.First, x.Next, x.Size, x.Root)
	fmt.Fprintf(s.out, "  recorded  as record %d of the log\n", x.Export)
	fmt.Fprintf(s.out, "  sha256    %s  tagmanifest-sha256.txt\n", x.TagManifest)
	s.hint("it holds what users wrote: encrypt it for its recipient; give them the public key another way")
	return nil
}
