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
	Rule string `arg:"" help:"The id of the rule." placeholder:"RULE"`
	adminFlags
}

// Help says what kong cannot know.
func (restoreCmd) Help() string {
	return `Each daemon decides by what it sees itself, so ask each: --admin.`
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// Run asks a daemon to give a rule that hit too much its action back.
func (c *restoreCmd) Run(ctx context.Context, s streams) error {
	daemon, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := daemon.Do(ctx, http.MethodPost, "/-/rules/restore", url.Values{"rule": {c.Rule}})
	if err != nil {
		return &hintError{err, "name the address of its admin listener with --admin, and how to log in with --admin-user and the like; weir run prints the address"}
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
