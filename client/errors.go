package client

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// What has become of an append. An error of Append or AppendAsync wraps exactly
// one of these three.
var (
	// ErrRefused: the server has answered that the entry is not stored, and why. It
	// is not in the log and will not be.
	ErrRefused = errors.New("not stored")
	// ErrNotSent: the entry has not been given to the network. It is not in the log
	// and will not be, so it is safe to append it again. The error wraps what kept
	// it from being sent: that of a dial, the context's, ErrInvalid or ErrClosed.
	ErrNotSent = errors.New("not sent")
	// ErrUnknown: the entry was sent, or part of it, and there was no answer, or
	// the server does not know itself. The entry may be in the log, now or later;
	// to append it again may store it twice. Only reading the log tells.
	ErrUnknown = errors.New("outcome unknown")
)

// Why something could not be done.
var (
	// ErrInvalid: what was to be appended is not one JSON object, array or null.
	ErrInvalid = errors.New("no JSON object, array or null")
	// ErrUnauthorized: the server wants a token, or a certificate, other than that
	// which was given, or the token lacks the right.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrClosed: the client has been closed.
	ErrClosed = errors.New("client is closed")
	// ErrLost: the connection was lost, or the server has ended it.
	ErrLost = errors.New("connection lost")
	// ErrServer: the server has answered a read with an error.
	ErrServer = errors.New("the server says")
	// ErrProtocol: what the server sends is not the protocol of a log server.
	ErrProtocol = errors.New("not the protocol of tcp-log-server")
	// ErrDiverged: after a reconnect the log of the server is not the one that was
	// followed before: the last entry seen is not in it, or is another one.
	ErrDiverged = errors.New("the log is not the one that was followed before")
)

// EntryError stands in a read in the place of an entry that the server cannot
// give, since its disk does not. The read goes on with the next entry.
type EntryError struct {
	Index uint64
	Text  string // why, in the server's words
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %d: %s", e.Index, e.Text) }

// errTooMany is the one fault of the server that passes by itself.
var errTooMany = fmt.Errorf("%w: too many connections", ErrServer)

// faultError is the error for a line {"error":text} that answers no write.
func faultError(text string) error {
	switch text {
	case "unauthorized":
		return ErrUnauthorized
	case "too many connections":
		return errTooMany
	}
	return fmt.Errorf("%w: %s", ErrServer, text)
}

// replyError is the error for {"id":…,"error":text}.
func replyError(text string) error {
	if rest, ok := strings.CutPrefix(text, ErrRefused.Error()+": "); ok {
		return fmt.Errorf("%w: %s", ErrRefused, rest)
	}
	rest, _ := strings.CutPrefix(text, ErrUnknown.Error()+": ")
	return fmt.Errorf("%w: %s", ErrUnknown, rest) // whatever else it says, it does not say that nothing is stored
}

func notSent(err error) error { return fmt.Errorf("%w: %w", ErrNotSent, err) }

func unknown(err error) error { return fmt.Errorf("%w: %w", ErrUnknown, err) }

// lost is the error for a connection that ended with err. A certificate that the
// server does not take shows only when the first answer is read.
func lost(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
