package admin

import (
	"context"
	"log/slog"
	"regexp"
)

// told passes on what the toolkit says of errors, and not what it says of
// addresses, which we have said ourselves.
type told struct{ slog.Handler }

// Enabled reports whether a level is passed on.
func (h *told) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}

// Handle passes on a record.
func (h *told) Handle(ctx context.Context, r slog.Record) error {
	n := slog.NewRecord(r.Time, r.Level, "the admin listener cannot use its web config file", r.PC)
	r.Attrs(func(a slog.Attr) bool {
		n.AddAttrs(slog.String(a.Key, hidden(a.Value.String())))
		return true
	})
	return h.Handler.Handle(ctx, n)
}

var quoted = regexp.MustCompile("`[^`]*`")

// hidden leaves out what a YAML error quotes of the file: keys and hashes of
// passwords may stand in it.
func hidden(text string) string { return quoted.ReplaceAllString(text, "a value") }

func hide(err error) string { return hidden(err.Error()) }
