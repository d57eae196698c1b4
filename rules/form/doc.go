// Package form finds terms in texts whose writers hide them, and says how each text
// had to be read: in which [Form]. Package fold makes characters that look or count the
// same one; what is here goes further: separators between characters, lengthened
// letters, letters spaced out, digits for letters, escapes, numbers in words, characters
// split in parts, sounds. And it takes care of the innocent: whole tokens, no reading
// across the end of a sentence, ordinary words that only contain a term.
//
// There are two ways to see through a disguise. What the writer can do in few ways is
// spelled out beforehand: each spelling of a term is one more pattern of the automaton
// and costs nothing when texts are read. What can be done in countless ways is undone in
// the text: a *reading* rewrites the text's symbols (without separators, with digits for
// numerals, ...) and the same automaton is asked again. Readings that no term asks for,
// or that change nothing in a text, are left out.
//
// What it is not: it knows no rules, categories or events; a term is a number here.
//
// The one thing to know: a span always points into the original bytes, and what stands
// there, read in the hit's form, is the term.
package form

//go:generate go run -C ../fold/gen ./cmd/forms
