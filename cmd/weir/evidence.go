package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

type evidenceCmd struct {
	Verify verifyCmd `cmd:"" help:"Check an evidence log: every record, every commitment, the tree and its signed heads, and that no offset is missing."`
}

type verifyCmd struct {
	Dir  string   `arg:"" help:"The evidence directory." type:"existingdir"`
	Key  string   `help:"The log's public key, as text or as a file. Without it the key beside the log is used, which proves that the log agrees with itself but not who wrote it." placeholder:"KEY"`
	Peer []string `help:"Evidence directories of other instances: what they judged is no hole here." placeholder:"DIR" type:"existingdir"`
	JSON bool     `name:"json" help:"Write the report as JSON."`
}

// Run verifies and prints what it found. The exit status is 1 if there is an
// alarm, 2 if the evidence could not be checked.
func (c *verifyCmd) Run(s streams) error {
	key := c.Key
	if b, err := os.ReadFile(key); key != "" && err == nil {
		// Without a key the one beside the log would be taken, and the answer be
		// about something else than what was asked.
		if key = strings.TrimSpace(string(b)); key == "" {
			return &codeError{fmt.Errorf("--key: %s is empty; it must hold the log's public key, one line of the form <origin>+<hash>+<key>", c.Key), exitMisuse}
		}
	}
	report, err := evidence.Verify(c.Dir, evidence.VerifyOptions{VerifierKey: key, Peers: c.Peer})
	if err != nil {
		return &codeError{err, exitMisuse}
	}
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

// printReport says what a verification found, the facts first, then every finding.
func printReport(w io.Writer, r *evidence.Report) error {
	var b strings.Builder
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	say("log", "%s", r.Origin)
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Kinds[k], k))
	}
	say("records", "%d: %s", r.Records, strings.Join(kinds, ", "))
	say("time", "%s to %s", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
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
	l := r.Ledger
	say("ledger", "%d fetched = %d passed + %d flagged + %d dead-lettered + %d skipped, in %d partitions",
		l.Fetched, l.Passed, l.Flagged, l.DeadLettered, l.Skipped, len(r.Partitions))
	for _, f := range r.Findings {
		say("found", "%s", f)
	}
	if r.Unlisted > 0 {
		say("found", "%d more", r.Unlisted)
	}
	if r.OK() {
		say("verdict", "whole: nothing was altered, cut out or left out")
	} else {
		say("verdict", "%s", strings.ToUpper(count(r.Alarms, "alarm")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
