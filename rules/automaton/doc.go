// Package automaton finds all of many patterns in a text at once: a true
// Aho-Corasick automaton over symbols, with a start filter in front. A symbol is
// what a folded character is to one automaton; decoding UTF-8, folding (package
// fold) and turning characters into symbols are one table look-up, so a text is
// read once. The time is linear in the length of the text plus the number of
// occurrences, for every text and every set of patterns.
//
// What it is not: it knows no rules, terms, forms or exceptions; a pattern is a
// number here, and an occurrence a range of symbols. [Text] says which bytes of the
// original those are.
//
// The one thing to know: an Automaton never changes and may be used by any number
// of goroutines at once, each with a [Text] and a [Scratch] of its own. It is a
// handful of slices without pointers, so the garbage collector does not walk it.
//
// DESIGN.md beside the code explains the algorithm from zero, what it costs, and
// what was tried and lost. With [Cloudflare] the same patterns are found by another engine,
// github.com/cloudflare/ahocorasick: an independent second opinion, for small sets.
package automaton
