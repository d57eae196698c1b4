// Package evidence is an append-only log that a stranger can check: what was
// written cannot be changed, reordered, back-dated or cut out afterwards without
// it showing, and what was acknowledged survives a crash.
//
// A record is a body and a 64-byte leaf. The leaf carries no personal data: ids,
// kinds, a time, and a salted commitment to the body. Leaves are hashed into a
// Merkle tree (RFC 6962), whose root is signed once a second as a checkpoint in
// the C2SP formats. Bodies stand outside the tree, so that later they can be
// encrypted or destroyed one by one while the tree stays whole.
//
// [Open] recovers a log, [Log.Append] makes records durable, [Log.Run] signs, and
// seals full segments: bodies go to files by class and day, which can be unlinked,
// and an index, while the leaves stay. [Verify] checks a directory without the
// daemon, [Walk] reads it, [Bodies] looks single records up. FORMAT.md beside this
// file describes every byte, for who wants to check it without us.
//
// What it is not: a database. Records are found by id and by the terms they were
// given, in order, and by nothing else; and one directory has exactly one writer.
//
// The one thing to know: when Append returns nil the records are on the disk;
// when anything about writing fails, the log refuses everything until it is
// opened again, because after a failed fsync nothing the kernel says about
// those pages can be believed.
package evidence
