// Package keys keeps the keys that evidence is encrypted with: one for each
// subject, class and month, so that a person can be forgotten, and a month of a
// class destroyed, without touching anything else.
//
// A subject key is random. It lies wrapped in keys/<class>/<yyyy-mm>.keys, under
// the key of the newest generation; that one lies wrapped in keys/keyring, under a
// master key that is elsewhere: a file, or a key management service behind a
// command. [Ring.Keys] gives the keys to encrypt with and makes new ones durable
// before it returns them; [Ring.Open] gives the key that a record names;
// [Ring.Shred] and [Ring.Drop] destroy, [Ring.Restrict] puts aside, and
// [Ring.Rotate] makes all older copies of the directory useless.
//
// What it is not: it does not encrypt, and it does not know why a key must go or
// record that it went. That is for its callers.
//
// The one thing to know: destroying a key here destroys it on this disk. Copies of
// the directory that were made before can be opened until the master key has been
// rotated: a key is gone when the generation that wrapped it is.
package keys
