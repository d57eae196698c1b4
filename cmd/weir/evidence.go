package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
	"github.com/weir-moderation/weir/sinks/evidence/export"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

type evidenceCmd struct {
	Query  queryCmd  `cmd:"" help:"Look evidence up by id, event, user, category, rule, kind or time. Who looks, why and by what right is put on record first."`
	Export exportCmd `cmd:"" help:"Make a package of evidence that its recipient can check without Weir. That it is made is put on record first."`
	Tiles  tilesCmd  `cmd:"" help:"Write the tree of an evidence log as a C2SP tlog-tiles directory, which the tools of transparency logs can check. No body is in it."`
	Pull   pullCmd   `cmd:"" help:"Write a log that is kept in PostgreSQL out as files, which the other verbs read."`
	Locate locateCmd `cmd:"" help:"Say in which logs of a PostgreSQL database, of many instances, records are: by id, user or event."`
	Verify verifyCmd `cmd:"" help:"Check an evidence log: every record, every commitment, the tree and its signed heads, and that no offset is missing."`

	Destroy     destroyCmd         `cmd:"" help:"Plan what is to be destroyed of a class whose period is over. Nothing is destroyed before a second person approves."`
	Approve     approveCmd         `cmd:"" help:"Sign a plan with the key of a second person, and carry it out."`
	Hold        holdCmd            `cmd:"" help:"Keep records beyond their day."`
	Holds       holdsCmd           `cmd:"" help:"List the holds in force."`
	Release     releaseCmd         `cmd:"" help:"End a hold."`
	Erase       eraseCmd           `cmd:"" help:"Erase a user: destroy the keys of the records about him."`
	Rotate      rotateCmd          `cmd:"" help:"Replace the master key, so that older copies of the keys open nothing."`
	Restore     restoreEvidenceCmd `cmd:"" help:"Destroy again what the log says was destroyed, after files were restored from a copy."`
	Damaged     damagedCmd         `cmd:"" help:"List the keys that cannot be read, and give one up of which no copy is left."`
	ReviewerKey reviewerKeyCmd     `cmd:"" name:"reviewer-key" help:"Make the key with which a reviewer approves."`
	EscrowKey   escrowKeyCmd       `cmd:"" name:"escrow-key" help:"Make the key to which keys of erased people can be sealed, for audits."`
}

type verifyCmd struct {
	Dir        string   `arg:"" help:"The evidence directory, or a package that weir evidence export made, a directory or a .tar." type:"path"`
	Key        []string `help:"The public key of a log, as text or as a file; once for each generation. Without it the key beside the log is used, which proves that the log agrees with itself but not who wrote it." placeholder:"KEY" sep:"none"`
	Generation string   `help:"Check this log only, not all that are in the directory." placeholder:"NAME"`
	Keys       bool     `help:"Open the bodies with the keys in the directory and check each against the commitment in its record. Without it encrypted bodies are checked by the SHA-256 of their files."`
	MasterKey  string   `help:"The file of the master key that opens the keys; by default master.key beside them. Implies --keys." placeholder:"FILE" type:"path"`
	Peer       []string `help:"Evidence directories of other instances: what they judged is no hole here, and the log must agree with the heads of it that they have put on record." placeholder:"DIR" type:"existingdir"`
	Head       []string `help:"Files with signed heads of the log that were kept elsewhere, such as data/log/N/checkpoint of an earlier package, or what a witness holds: the log must agree with each." placeholder:"FILE" type:"existingfile"`
	Witness    []string `help:"The public key of a witness, as text or as a file, one line as it publishes it: its signatures on heads of the log are checked, and what they prove is said." placeholder:"KEY" sep:"none"`
	StampCA    string   `name:"timestamp-ca" help:"A file with the certificates, in PEM, from which those of the time-stamp authority come: its tokens are checked, and what they prove is said." placeholder:"FILE" type:"existingfile"`
	JSON       bool     `name:"json" help:"Write the report as JSON."`
}

func (verifyCmd) Help() string {
	return `Says of every record one of: ok; ok, body not opened (its place in the log is right, what it says was not read for want of a key); destroyed, erased (a record of the log says by whom and why, and is named); held (kept for a hold when its day was destroyed); replayed (the same once more, after a crash); or raises an alarm: ALTERED, MISSING without a record that says why, CONFLICT, FORK, COVERAGE HOLE, BAD COVERAGE. An UNSIGNED TAIL, records younger than the last checkpoint, is no alarm while the log is written. The first bad record is named by index, file, offset and time. Signatures of others, witnesses and time-stamp authorities, are checked with the keys and certificates given (--witness, --timestamp-ca): one that is false is an alarm, and of the others is said how many records were there when. All logs of the directory are checked in the order in which they were begun, each also against what the next one says of it. A log may be checked while it is written. The exit code is 0 without an alarm, 1 with one, 2 if the evidence could not be checked.`
}

// Run verifies and prints what it found. The exit status is 1 if there is an
// alarm, 2 if the evidence could not be checked.
func (c *verifyCmd) Run(ctx context.Context, s streams) error {
	vkeys, err := c.vkeys()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	if _, err := os.Stat(c.Dir); err != nil {
		return &codeError{err, exitMisuse}
	}
	third, err := c.thirdParties()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	if export.IsPackage(c.Dir) {
		return c.verifyPackage(s, vkeys, third)
	}
	bar := progress{w: s.err, unit: "record", on: demo.IsTerminal(s.err)}
	o := evidence.VerifyOptions{Peers: c.Peer, Generation: c.Generation, ThirdParties: third, Progress: func(records, read, total int64) {
		bar.total = total
		bar.show(records, read)
	}}
	for _, name := range c.Head {
		msg, err := os.ReadFile(name)
		if err != nil {
			return &codeError{fmt.Errorf("--head: %w", err), exitMisuse}
		}
		if _, err := evidence.ParseCheckpoint(msg, ""); err != nil {
			return &codeError{fmt.Errorf("--head: %s: %w", name, err), exitMisuse}
		}
		o.Heads = append(o.Heads, msg)
	}
	if c.Keys || c.MasterKey != "" {
		ring, err := keys.Open(filepath.Join(c.Dir, "keys"), keys.Options{ReadOnly: true, Master: keys.Config{File: c.MasterKey}})
		if errors.Is(err, keys.ErrMaster) {
			fmt.Fprintf(s.err, "weir: warning: encrypted bodies are not opened: %v\n", err)
		} else if err != nil {
			return &codeError{err, exitMisuse}
		} else {
			o.Keys = ring
			defer ring.Close() //nolint:errcheck // only read
		}
	}
	var report *evidence.DirReport
	if !finishes(ctx, func() { report, err = evidence.VerifyAll(c.Dir, vkeys, o) }) {
		return errors.New("interrupted")
	}
	bar.end()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	return c.tell(s, report)
}

// verifyPackage checks a package that weir evidence export made.
func (c *verifyCmd) verifyPackage(s streams, vkeys []string, third evidence.ThirdParties) error {
	if c.Keys || c.MasterKey != "" || c.Generation != "" || len(c.Peer) > 0 || len(c.Head) > 0 {
		return &codeError{fmt.Errorf("%s is a package; of the flags --key, --witness, --timestamp-ca and --json are for one", c.Dir), exitMisuse}
	}
	report, err := export.Verify(c.Dir, vkeys, third)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	return c.tell(s, report)
}

// tell prints the report.
func (c *verifyCmd) tell(s streams, report *evidence.DirReport) (err error) {
	if c.JSON {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		err = printReport(s.out, report)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !report.OK() {
		fmt.Fprintf(s.err, "weir: error: the evidence in %s does not verify: %s\n", c.Dir, count(report.Alarms, "alarm"))
		return errSaid
	}
	return nil
}

// vkeys returns the public keys of the logs.
func (c *verifyCmd) vkeys() ([]string, error) {
	// Without a key the one beside the log would be taken, and the answer be
	// about something else than what was asked.
	return keysFrom("--key", c.Key, "the log's public key, one line of the form <origin>+<hash>+<key>")
}

// keysFrom reads keys from files where they are named by one.
func keysFrom(flag string, given []string, what string) (list []string, err error) {
	for _, key := range given {
		if b, err := os.ReadFile(key); err == nil {
			if key = strings.TrimSpace(string(b)); key == "" {
				return nil, fmt.Errorf("%s: %s is empty; it must hold %s", flag, given[len(list)], what)
			}
		}
		list = append(list, key)
	}
	return list, nil
}

// thirdParties returns what the signatures of others are checked with.
func (c *verifyCmd) thirdParties() (third evidence.ThirdParties, err error) {
	witnesses, err := keysFrom("--witness", c.Witness, "the witness's public key, one line of the form <name>+<hash>+<key>")
	if err != nil {
		return third, err
	}
	var ca []byte
	if c.StampCA != "" {
		if ca, err = os.ReadFile(c.StampCA); err != nil {
			return third, fmt.Errorf("--timestamp-ca: %w", err)
		}
	}
	if third, err = anchor.ThirdParties(witnesses, ca); err != nil {
		return third, fmt.Errorf("--witness, --timestamp-ca: %w", err)
	}
	return third, nil
}

// printReport says what a verification found: of each log the facts first, then
// every finding; then what belongs to none of them.
func printReport(w io.Writer, r *evidence.DirReport) error {
	var b strings.Builder
	for i, log := range r.Logs {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeReport(&b, log)
	}
	if len(r.Logs) > 1 {
		b.WriteByte('\n')
	}
	for _, f := range r.Findings {
		sayOf(&b, "found", "%s", f)
	}
	if f := r.FirstBad; f != nil {
		sayOf(&b, "first bad", "%s", f)
	}
	if r.OK() {
		sayOf(&b, "verdict", "whole: nothing was altered, cut out or left out")
	} else {
		sayOf(&b, "verdict", "%s", strings.ToUpper(count(r.Alarms, "alarm")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sayOf(b *strings.Builder, what, format string, args ...any) {
	fmt.Fprintf(b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
}

// writeReport says what was found in one log.
func writeReport(b *strings.Builder, r *evidence.Report) {
	say := func(what, format string, args ...any) { sayOf(b, what, format, args...) }
	say("log", "%s", r.Origin)
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Kinds[k], k))
	}
	say("records", "%d: %s", r.Records, strings.Join(kinds, ", "))
	say("time", "%s to %s", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
	var verdicts []string
	for _, v := range slices.Sorted(maps.Keys(r.Verdicts)) {
		verdicts = append(verdicts, fmt.Sprintf("%d %s", r.Verdicts[v], v))
	}
	say("judged", "%s", strings.Join(verdicts, "; "))
	if r.Signed > 0 {
		say("signed", "%d records by %d heads, the latest root %s", r.Signed, r.Heads, r.Root)
	} else {
		say("signed", "nothing")
	}
	if r.KeyFromLog {
		say("key", "found beside the log: the log agrees with itself; to prove who wrote it give --key")
	} else {
		say("key", "as given")
	}
	for i := range r.Vouched {
		if x := &r.Vouched[i]; x.By == "" {
			say("stamped", "%s", x)
		} else {
			say("witness", "%s: %s", x.By, x)
		}
	}
	l := r.Ledger
	say("ledger", "%d fetched = %d passed + %d flagged + %d dead-lettered + %d skipped, in %d partitions",
		l.Fetched, l.Passed, l.Flagged, l.DeadLettered, l.Skipped, len(r.Partitions))
	for _, f := range r.Findings {
		say("found", "%s", f)
	}
	if r.Unlisted > 0 {
		say("found", "%d more", r.Unlisted)
	}
}
