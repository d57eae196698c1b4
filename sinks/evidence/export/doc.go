// Package export takes evidence out of a log: for who asks for it by right, and
// so that what they are given can be checked without Weir and without us.
//
// [Find] selects records, [Release] writes down who is given what and why before
// anything is given, [Write] makes a package: a BagIt directory that sha256sum,
// openssl and python3 can check, with the scripts that do. [Tiles] writes a log's
// tree in the form that the tools of transparency logs read.
//
// The one thing to know: plaintext leaves this package only through Release, and
// Release gives it out only after the record of it is durable.
package export
