package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type restoreCmd struct {
	Rule  string `arg:"" help:"The id of the rule." placeholder:"RULE"`
	Admin string `default:"http://127.0.0.1:9464" help:"Where the admin listener of the daemon is. Each daemon decides by what it sees itself, so ask each."`
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// Run asks a daemon to give a rule that hit too much its action back.
func (c *restoreCmd) Run(ctx context.Context, s streams) error {
	at, err := url.Parse(c.Admin)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return &codeError{fmt.Errorf("--admin: %q is no address of an admin listener; give one such as http://127.0.0.1:9464", c.Admin), exitMisuse}
	}
	at = at.JoinPath("/-/rules/restore")
	at.RawQuery = url.Values{"rule": {c.Rule}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &hintError{fmt.Errorf("ask the daemon: %w", err), "name the address of its admin listener with --admin; weir run prints it"}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		fmt.Fprintf(s.out, "rule %s has its action back\n", c.Rule)
		return nil
	case http.StatusUnprocessableEntity:
		return errors.New(strings.TrimSpace(string(answer)))
	}
	return fmt.Errorf("%s is no admin listener of Weir: it answers %s", c.Admin, resp.Status)
}
