package client

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// The outcomes of a write. An error of Append, Put and the other methods that write wraps
// exactly one of these three.
var (
	// ErrRefused: the server has answered that the entry is not stored, and why. The entry
	// is not in the log and will not be.
	ErrRefused = errors.New("not stored")
	// ErrNotSent: the entry has not been sent. It is not in the log and will not be, so it
	// is safe to append it again. The error wraps the reason: the error of a dial, that of
	// the context, ErrInvalid or ErrClosed.
	ErrNotSent = errors.New("not sent")
	// ErrUnknown: the entry was sent, at least in part, and there was no answer, or the
	// server itself does not know the outcome. The entry may be in the log, now or later;
	// appending it again may store it twice. Only reading the log will tell.
	ErrUnknown = errors.New("outcome unknown")
)

// ConditionError refuses a write with If: the head was not the expected one. It wraps
// ErrRefused.
type ConditionError struct {
	Head uint64 // the head when the write's turn came
	Want uint64
}

func (e *ConditionError) Error() string {
	return fmt.Sprintf("%v: the head is %d, not %d", ErrRefused, e.Head, e.Want)
}

func (e *ConditionError) Unwrap() error { return ErrRefused }

// Reasons why an operation failed.
var (
	// ErrInvalid: the entry is not one JSON object, array or null.
	ErrInvalid = errors.New("not a JSON object, array or null")
	// ErrUnauthorized: the server wants another token or certificate, or the token lacks the
	// right.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrNeedsTLS: the server speaks only TLS, and Options.TLS is nil. It has accepted
	// nothing.
	ErrNeedsTLS = errors.New("the server requires TLS")
	// ErrClosed: the client has been closed.
	ErrClosed = errors.New("client is closed")
	// ErrLost: the connection was lost, or the server has closed it.
	ErrLost = errors.New("connection lost")
	// ErrServer: the server has answered a read with an error.
	ErrServer = errors.New("the server says")
	// ErrUnsupported: the server is too old for the write or the read, or does not say
	// whether it supports it. Nothing was stored or read.
	ErrUnsupported = errors.New("not supported")
	// ErrProtocol: the server does not follow the protocol.
	ErrProtocol = errors.New("not the protocol of tcp-log-server")
	// ErrDiverged: after a reconnect the server's log is not the one that was followed: the
	// last entry seen is missing or different.
	ErrDiverged = errors.New("the log is not the one that was followed before")
)

// usageError says what is wrong with the options of a call, which has sent nothing.
type usageError string

func (e usageError) Error() string { return string(e) }

func usage(format string, values ...any) error { return usageError(fmt.Sprintf(format, values...)) }

// EntryError takes the place, in a read, of an entry that the server cannot read from its
// disk. The read continues with the next entry.
type EntryError struct {
	Index uint64
	Text  string // why, in the server's words
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %d: %s", e.Index, e.Text) }

// errTooMany is a server's only fault that passes by itself.
var errTooMany = fmt.Errorf("%w: too many connections", ErrServer)

// faultError is the error for a line {"error":text} that answers no write.
func faultError(text string) error {
	switch text {
	case "unauthorized":
		return ErrUnauthorized
	case "this server requires TLS":
		return ErrNeedsTLS
	case "too many connections":
		return errTooMany
	}
	if strings.HasPrefix(text, "not available now: ") { // the server then hangs up; the entry may be available soon
		return fmt.Errorf("%w: the server says: %s", ErrLost, text)
	}
	return fmt.Errorf("%w: %s", ErrServer, text)
}

// replyError is the error for {"id":…,"error":text}.
func replyError(text string) error {
	if rest, ok := strings.CutPrefix(text, ErrRefused.Error()+": "); ok {
		return fmt.Errorf("%w: %s", ErrRefused, rest)
	}
	rest, _ := strings.CutPrefix(text, ErrUnknown.Error()+": ")
	return fmt.Errorf("%w: %s", ErrUnknown, rest) // the text does not begin with "not stored"
}

// answersTLS reports whether b, the beginning of a line received on a connection without
// TLS, is a TLS alert or handshake: no line begins like this.
func answersTLS(b []byte) bool { return len(b) > 1 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3 }

// turnedAway reports whether a server whose only answer is err has accepted nothing on the
// connection.
func turnedAway(err error) bool {
	return errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrNeedsTLS) || errors.Is(err, errTooMany)
}

func notSent(err error) error { return fmt.Errorf("%w: %w", ErrNotSent, err) }

func unknown(err error) error { return fmt.Errorf("%w: %w", ErrUnknown, err) }

// lost returns the error for a connection that ended with err. That the server rejects a
// certificate is known only when the first answer is read.
func lost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
