package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

type manCmd struct {
	Date string `placeholder:"YYYY-MM-DD" help:"The date in its foot; today's without it."`
}

// Run prints the manual page, made of the command line itself.
func (c manCmd) Run(s streams, app *kong.Application) error {
	date := c.Date
	if date == "" {
		date = time.Now().UTC().Format(time.DateOnly)
	} else if _, err := time.Parse(time.DateOnly, date); err != nil {
		return &codeError{fmt.Errorf("date %q is not like 2026-11-28", date), exitMisuse}
	}
	_, err := io.WriteString(s.out, manual(app.Node, date))
	return err
}

// manual returns the page in the macros of man(7), which every formatter knows.
func manual(n *kong.Node, date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH WEIR 1 \"%s\" \"weir %s\" \"User Commands\"\n", date, roff(version()))
	fmt.Fprintf(&b, ".SH NAME\nweir \\- streaming content moderation with evidence\n.SH SYNOPSIS\n.B weir\n.I verb\n[\\fIflags\\fR] [\\fIarguments\\fR]\n")
	b.WriteString(".SH DESCRIPTION\nWeir reads what users post and what a platform wants to push to them from Kafka, and judges each message before it spreads.\n" +
		"What is flagged goes to a review topic, every decision goes on record in an evidence log that a stranger can verify.\n.PP\n.B weir demo\nshows all of it with nothing installed.\n.SH VERBS\n")
	manualVerbs(&b, n, "weir")
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range []struct {
		code int
		what string
	}{{exitFine, "fine"}, {exitFailed, "failed: something is wrong with what was looked at, or could not be done"},
		{exitMisuse, "misuse of the command line"}, {exitFindings, "everything was done, and what the verb looks for was found"}} {
		fmt.Fprintf(&b, ".TP\n.B %d\n%s\n", e.code, roff(e.what))
	}
	b.WriteString(".SH SIGNALS\n.TP\n.B SIGTERM, SIGINT\nfinish what is in hand, commit, leave the group; a second one ends the process at once\n" +
		".TP\n.B SIGHUP\nread the configuration, the rules and the push policy again; all or nothing\n")
	b.WriteString(".SH ENVIRONMENT\n.TP\n.B WEIR_INSTANCE\ngoes before\n.I instance\nof the configuration file, for processes that share one\n" +
		".TP\n.B NO_COLOR\nno colours, also on a terminal\n.TP\n.B NOTIFY_SOCKET, WATCHDOG_USEC\nset by\n.BR systemd (1)\nfor a service of\n.I Type=notify\n")
	b.WriteString(".SH FILES\n.TP\n.I /etc/weir/weir.yaml\nthe configuration of the packaged service\n.TP\n.I /var/lib/weir\nits evidence, and the key that signs it\n" +
		".SH SEE ALSO\n.BR systemd.service (5)\n.PP\nhttps://github.com/weir\\-moderation/weir\n")
	return b.String()
}

// manualVerbs writes a section for each verb below a node.
func manualVerbs(b *strings.Builder, n *kong.Node, path string) {
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		name := path + " " + child.Name
		if !child.Leaf() {
			manualVerbs(b, child, name)
			continue
		}
		usage := name
		for _, p := range child.Positional {
			usage += " " + p.Summary()
		}
		fmt.Fprintf(b, ".SS \"%s\"\n%s\n", roff(usage), roff(child.Help))
		if child.Detail != "" {
			fmt.Fprintf(b, ".PP\n%s\n", roff(child.Detail))
		}
		for _, p := range child.Positional {
			fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(p.Name), roff(p.Help))
		}
		for _, f := range child.Flags {
			if f.Hidden {
				continue
			}
			fmt.Fprintf(b, ".TP\n.B \\-\\-%s", roff(f.Name))
			if takesValue(f) {
				fmt.Fprintf(b, "=%s", roff(f.FormatPlaceHolder()))
			}
			fmt.Fprintf(b, "\n%s\n", roff(f.Help))
		}
	}
}

// roff returns text that a formatter takes as it is: no escapes, no requests at the beginning of a line, no blank lines.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`).Replace(text)
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
