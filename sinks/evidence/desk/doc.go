// Package desk is where people work on an evidence log: what they do to it
// becomes a statement in it, a record of class audit that stays for ever.
//
// A log has one writer. [Dial] therefore appends over the control socket of the
// daemon that holds the log, or opens the log itself where no daemon runs;
// whoever has the [Conn] cannot tell which. [Listen] is the daemon's side.
//
// What it is not: access control. Whoever may write the evidence directory may
// speak on the socket; what a second person must sign is checked by signature.
//
// The one thing to know: the statement comes first. Nothing is unlinked, no key
// is destroyed and no text is shown before the record that says so is durable,
// so a crash in between is a thing to be done again, never a hole nobody explains.
package desk
