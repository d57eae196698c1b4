package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-moderation/weir/internal/load"
)

// settled waits until the group has committed all there is in the topics.
func settled(ctx context.Context, admin *kadm.Client, group string, members []*member, topics ...string) error {
	for {
		left := int64(-1)
		ends, err := admin.ListEndOffsets(ctx, topics...)
		if err == nil {
			if offsets, err := admin.FetchOffsets(ctx, group); err == nil {
				left = 0
				ends.Each(func(e kadm.ListedOffset) {
					at := int64(0)
					if o, ok := offsets.Lookup(e.Topic, e.Partition); ok {
						at = max(0, o.At)
					}
					left += e.Offset - at
				})
			}
		}
		if left == 0 {
			return nil
		}
		for _, m := range members {
			if err := m.alive(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%v: %d messages are not committed: %w", topics, left, ctx.Err())
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// audit has the ledger of all members and each one's evidence checked by the verbs
// an operator has, and returns the last line of the ledger.
func audit(ctx context.Context, members []*member, more ...string) (string, error) {
	args := append([]string{"ledger", "--config", members[0].config()}, more...)
	for _, m := range members {
		args = append(args, "--evidence", m.evidence())
	}
	out, err := exec.CommandContext(ctx, members[0].binary, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("weir ledger: %w\n%s", err, out)
	}
	for _, m := range members {
		args := []string{"evidence", "verify", m.evidence()}
		for _, p := range members {
			if p != m {
				args = append(args, "--peer", p.evidence())
			}
		}
		if out, err := exec.CommandContext(ctx, m.binary, args...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("weir evidence verify, %s: %w\n%s", m.name, err, out)
		}
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], nil
}

// loadReport returns what weir load, run with --json, has found, once it has ended with err.
// What is wrong is in the report; an error is that it could not find out.
func loadReport(err error, out, said []byte) (*load.Report, error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("weir load: %w\n%s", err, said)
	}
	r := new(load.Report)
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("weir load: %w\n%s%s", err, out, said)
	}
	return r, nil
}
