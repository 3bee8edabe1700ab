package main

import (
	"errors"
	"fmt"
)

// An appender speaks one server's protocol for one appending connection. The
// same engine drives every server's appenders, so that what the generator
// costs differs between servers only by the bytes of their protocols.
type appender interface {
	// greeting is what to send first on the connection, and what the answer to
	// wait for contains; both may be empty.
	greeting() (send []byte, until string)
	// requests appends n append requests to dst, stamped as sent at now.
	requests(dst []byte, n int, now int64) []byte
	// replies counts the whole acknowledgements that b begins with, and the
	// bytes they take. A refusal by the server is an error.
	replies(b []byte) (used, n int, err error)
}

// A reader speaks one server's protocol for one reading connection.
type reader interface {
	greeting() (send []byte, until string)
	// ask appends to dst what the reader has to say next, if anything: the
	// first request, the next pull, or an answer to the server's flow control.
	ask(dst []byte) []byte
	// scan consumes the whole messages that b begins with, checking that the
	// entries follow each other without gap or repetition, and calls visit,
	// when given, with each entry's stored bytes.
	scan(b []byte, visit func(entry []byte)) (used, entries int, err error)
}

// readPlan says what a reader is to read.
type readPlan struct {
	pull   int  // entries per request; 0: one stream
	follow bool // wait for entries to come, at the log's beginning
	lane   int  // distinguishes the readers of one server
}

var errIncomplete = errors.New("incomplete")

// parseUint reads the decimal digits that b begins with.
func parseUint(b []byte) (v uint64, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		v = v*10 + uint64(b[digits]-'0')
		digits++
	}
	return v, digits
}

// unexpected describes a reply that a codec can't make sense of.
func unexpected(who string, b []byte) error {
	return fmt.Errorf("%s: unexpected reply %.200q", who, b)
}
