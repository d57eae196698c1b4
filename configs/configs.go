// Package configs holds what an operator edits, as shipped: the category
// register, the starter packs of rules, the push policy and the example
// configuration. They are compiled into the binary, so that Weir runs without
// any file, and they lie here as files to copy and change.
//
// Beside what is compiled in lie alerts for Prometheus (prometheus) and dashboards
// for Grafana (grafana), which scripts/dashboards generates.
//
// What it is not: it reads and checks nothing; packages rules, pipeline/push and
// internal/config do.
package configs

import "embed"

//go:generate go -C ../scripts/dashboards run . ../../configs/grafana

// FS holds categories.yaml, rules/*.yaml (packs, and the tests of some in *_test.yaml), push.yaml with push_test.yaml,
// push-presets/*.yaml (limits that a push policy can name), retention.yaml (periods that texts demand), weir.yaml, words/*.txt, and benign/*.txt: ordinary posts, one a line, made for this purpose, which
// rules are checked against. Those in traps.txt hold what the starter packs look for, or nearly.
//
// Clause: push-truth
// The starter packs advertising and push send claims that advertising law forbids, and advertising without a label or a way out, to a human.
//
//go:embed categories.yaml rules/*.yaml push.yaml push_test.yaml push-presets/*.yaml retention.yaml weir.yaml words/*.txt benign/*.txt
var FS embed.FS
