package main

import (
	"context"
	"fmt"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
)

type damagedCmd struct {
	deskFlags
	GiveUp     string `help:"The key to give up, as the list names it." placeholder:"NAME"`
	Reason     string `help:"Why it cannot be restored." placeholder:"TEXT"`
	By         string `help:"Who gives it up." placeholder:"NAME"`
	ApprovedBy string `help:"Who approved that, another person." placeholder:"NAME"`
	Execute    bool   `help:"Put it on record and give the key up. Without it what would be lost is said."`
}

// Help says what kong cannot know.
func (damagedCmd) Help() string {
	return `Lists the keys of the evidence whose entries cannot be read, with the records that hang on each. While there is one, the master key is not rotated, because the key would be lost by that. Put the entry back from a copy of the keys (docs/operations.md says how), and run weir evidence restore; where no copy has it, give the key up: that is put on record first, then its entry is overwritten with zeros, and its records can never be read again. They were not destroyed by the rules: weir evidence verify --keys goes on to say MISSING of them, and names the record that tells why.`
}

// Run lists damaged keys or gives one up.
func (c *damagedCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		if c.GiveUp != "" {
			return c.giveUp(ctx, s, d)
		}
		list, err := d.Damaged(ctx)
		if err != nil {
			return err
		}
		for _, k := range list {
			if err := printDamaged(s, &k); err != nil {
				return err
			}
		}
		if _, err = fmt.Fprintf(s.out, "  %-9s %s\n", "total", count(len(list), "damaged key")); err == nil && len(list) > 0 {
			s.hint("put it back from a copy of the keys and run weir evidence restore; where no copy has it: weir evidence damaged --give-up " + list[0].Name)
		}
		return err
	})
}

func printDamaged(s streams, k *desk.DamagedKey) error {
	which := ""
	if len(k.Handles) > 1 {
		which = fmt.Sprintf(", with one of %d keys", len(k.Handles))
	}
	_, err := fmt.Fprintf(s.out, "  %-9s %s, at offset %d; %s encrypted with it%s\n", "damaged", k.Name, k.Offset, count(k.Records, "record"), which)
	return err
}

func (c *damagedCmd) giveUp(ctx context.Context, s streams, d *desk.Conn) error {
	r := desk.GiveUpRequest{Key: c.GiveUp, Reason: c.Reason, By: c.By, ApprovedBy: c.ApprovedBy}
	if !c.Execute {
		k, err := d.FindDamaged(ctx, r)
		if err != nil {
			return err
		}
		if err := printDamaged(s, &k); err != nil {
			return err
		}
		s.hint("nothing is given up; do it with --execute")
		return nil
	}
	index, k, err := d.GiveUp(ctx, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "  %-9s %s, %s lost, record %d\n", "given up", k.Name, count(k.Records, "record"), index)
	return err
}
