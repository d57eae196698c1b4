package main

import (
	"bytes"
	"os"
	"testing"
)

// The table that is checked in was written from the inputs that are checked in.
func TestFresh(t *testing.T) {
	want, err := inputs()
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("../../../table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(table, []byte("// Inputs: "+want+"\n")) {
		t.Error("table_gen.go is stale: run go generate ./rules/fold")
	}
}

func TestPlain(t *testing.T) {
	for s, want := range map[string]string{
		"(1)": "1", "(ab)": "ab", "〔本〕": "本", "20.": "20", "0,": "0",
		"a.m.": "a.m.", "...": "...", "(": "(", "()": "()", "1/2": "1/2",
	} {
		if got := plain(s); got != want {
			t.Errorf("plain(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestCompose(t *testing.T) {
	for s, want := range map[string]string{
		"\u1112\u1161\u11ab": "한", "\u1100\u1161": "가", "\u1100": "\u1100",
		"\u1161": "\u1161", "가\u11a7": "가\u11a7", "한\u11ab": "한\u11ab", "ab": "ab",
	} {
		if got := compose(s); got != want {
			t.Errorf("compose(%q) = %q, want %q", s, got, want)
		}
	}
}

// Ranges count up from the target, targets with names do not.
func TestReadRules(t *testing.T) {
	rules, err := readRules("enclosed.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := map[rune]string{}
	for _, r := range rules {
		got[r.from] = r.to
	}
	if got['🅐'] != "a" || got['🅩'] != "z" || got['❿'] != "10" {
		t.Errorf("🅐 %q, 🅩 %q, ❿ %q", got['🅐'], got['🅩'], got['❿'])
	}
	rules, err = readRules("punctuation.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.from == '\u2003' && r.to != " " || r.from == '\U0001F3FF' && r.to != "" {
			t.Errorf("%U becomes %q", r.from, r.to)
		}
	}
}
