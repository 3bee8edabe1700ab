package main

import (
	"errors"
	"fmt"
)

// An appender speaks one server's protocol on one appending connection. The same
// loop drives the appenders of all servers, so that the generator's cost differs
// only by the bytes of their protocols.
type appender interface {
	// greeting returns what to send first on the connection, and a text to wait
	// for in the answer. Both may be empty.
	greeting() (send []byte, until string)
	// requests appends n append requests to dst, stamped as sent at now.
	requests(dst []byte, n int, now int64) []byte
	// replies counts the complete acknowledgements at the start of b, and their
	// bytes. A refusal by the server is an error.
	replies(b []byte) (used, n int, err error)
}

// A reader speaks one server's protocol on one reading connection.
type reader interface {
	greeting() (send []byte, until string)
	// ask appends the reader's next message to dst, if there is one: the first
	// request, the next pull, or an answer to the server's flow control.
	ask(dst []byte) []byte
	// scan consumes the complete messages at the start of b, checks that no entry is
	// missing or repeated, and calls visit, if not nil, with the stored bytes of
	// each.
	scan(b []byte, visit func(entry []byte)) (used, entries int, err error)
}

// readPlan says what a reader reads.
type readPlan struct {
	pull   int  // entries per request; 0: one stream
	follow bool // from the start of the log, without end
	lane   int  // distinguishes the readers of one server
}

var errIncomplete = errors.New("incomplete")

// parseUint parses the decimal digits at the start of b.
func parseUint(b []byte) (v uint64, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		v = v*10 + uint64(b[digits]-'0')
		digits++
	}
	return v, digits
}

// unexpected is the error of a codec that cannot parse a reply.
func unexpected(who string, b []byte) error {
	return fmt.Errorf("%s: unexpected reply %.200q", who, b)
}
