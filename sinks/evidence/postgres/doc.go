// Package postgres keeps evidence logs in a PostgreSQL database, for pods without a
// disk that lasts: it is the [evidence.Store] there is.
//
// A row of ev_frame is one frame, the bytes a segment file would have. Its primary key,
// log and first record, is what keeps a log from going two ways: to insert the frame at the
// next record is to compare and swap, and of two writers the second gets an error. Heads
// are rows of ev_head; bodies that sealing moved are rows of ev_body by class and day, and
// to destroy them is to delete them. [evidence.Pull] writes a log out as files.
//
// What it is not: a place to verify or to search in. Who verifies pulls the log and
// believes the signatures, not the database.
//
// The one thing to know: a deleted row lives on in the write-ahead log, in dead rows
// until vacuum, in replicas and in backups. That bodies are destroyed is true because they
// are encrypted and the master key of their time is destroyed by rotation.
package postgres
