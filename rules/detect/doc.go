// Package detect finds what has a shape instead of a spelling: URLs, mail addresses, phone
// numbers, messenger ids and prices, however their digits and letters are written. It gives
// the places in the original text.
//
// Each detector reads the folded symbols of a text from left to right, as package fold makes
// them: full width, circled and styled characters, the digits of all scripts, nothing
// invisible; Chinese numerals count as digits where a number is looked for. From each symbol it
// looks ahead or back over at most a fixed number of others, the limits of this package, or over
// ground it does not enter again. So the work grows with the length of a text and with nothing
// else, whatever the text.
//
// What it is not: it verifies nothing. No host is asked for, no number called, and a detector does
// not know whether a post may have a phone number in it: it is a part of rules, which say so.
//
// The one thing to know: a detector would rather miss than report. What may as well be a date, an
// order number, a version or a file is spared unless the text says what it is.
package detect
