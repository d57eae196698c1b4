package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

type escrowKeyCmd struct {
	Out string `required:"" help:"The file for the private key; it must not exist." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (escrowKeyCmd) Help() string {
	return `The private key goes into the file, which only its owner can read, and is never printed. Make it on a machine that is not connected to anything, and keep it there: whoever has it reads what was erased, as long as the escrow lasts. The public key goes to stdout: keep it in a file for weir evidence erase --escrow-key.`
}

// Run makes a key pair.
func (c *escrowKeyCmd) Run(s streams) error {
	private, public, err := keys.NewEscrowKey()
	if err != nil {
		return err
	}
	if err := writeNew(c.Out, private+"\n"); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return &hintError{fmt.Errorf("%s exists, and a key is never overwritten", c.Out), "name another file with --out"}
		}
		return fmt.Errorf("write private key: %w", err)
	}
	_, err = fmt.Fprintln(s.out, public)
	return err
}

// escrowFlags lend keys of erased people from escrow to who reads evidence.
type escrowFlags struct {
	Escrow    []string `help:"A file of keys that were sealed before their person was erased (keys/escrow). Their records are not in the indexes: name them by --id, or give --scan." placeholder:"FILE" type:"existingfile"`
	EscrowKey string   `help:"The file with the private key that opens it." placeholder:"FILE" type:"path"`
}

// lend makes the keys in escrow usable by a ring. What was destroyed on the disk is so still.
func (f *escrowFlags) lend(ring *keys.Ring) error {
	if (len(f.Escrow) == 0) != (f.EscrowKey == "") {
		return &codeError{errors.New("--escrow and --escrow-key: give both or none"), exitMisuse}
	}
	if len(f.Escrow) == 0 {
		return nil
	}
	if ring == nil {
		return &codeError{errors.New("--escrow: nothing in this log is encrypted"), exitMisuse}
	}
	private, err := os.ReadFile(f.EscrowKey)
	if err != nil {
		return fmt.Errorf("read private key: %w", err)
	}
	for _, file := range f.Escrow {
		opened, err := keys.OpenEscrow(file, strings.TrimSpace(string(private)))
		if err != nil {
			return err
		}
		if err := ring.Lend(opened); err != nil {
			return err
		}
	}
	return nil
}
