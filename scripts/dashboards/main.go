// Command dashboards writes Weir's Grafana dashboards, configs/grafana/*.json, from the Go in this directory:
//
//	go -C scripts/dashboards run . ../../configs/grafana
//
// It is a module of its own because its tests need Prometheus and Grafana's own types, which are to be no part of
// what Weir is built from. They hold dashboards and alerts against a real Prometheus that scrapes a real Weir.
//
// A board has rows, from symptoms down to causes: who is woken at three reads from the top and stops where it says why.
// Every panel says what is normal, and links the section of docs/operations.md that says what to do.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "dashboards: error: give the directory to write to\ndashboards: hint: go -C scripts/dashboards run . ../../configs/grafana")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards: error:", err)
		os.Exit(1)
	}
}

// boards are all dashboards, by the names of their files.
func boards() map[string]board {
	return map[string]board{
		"overview.json": overview(),
		"push.json":     pushes(),
		"rules.json":    ruleset(),
		"evidence.json": evidence(),
		"kafka.json":    kafka(),
		"capacity.json": capacity(),
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of dashboards: %w", err)
	}
	for name, b := range boards() {
		text, err := render(b)
		if err != nil {
			return fmt.Errorf("render %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return fmt.Errorf("write a dashboard: %w", err)
		}
	}
	return nil
}

// render returns the JSON of a board, as Grafana imports it.
func render(b board) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // expressions stay readable
	enc.SetIndent("", "  ")
	err := enc.Encode(b.dashboard())
	return text.Bytes(), err
}
