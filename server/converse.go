package server

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/server/internal/message"
)

// Form is the form of what a peer sends.
type Form uint8

const (
	// Messages: each line is a message of the protocol.
	Messages Form = iota
	// EntryLines: each line is an entry to append.
	EntryLines
	// OneEntry: everything up to the end of the input is one entry to append.
	OneEntry
	// OneBatch: everything up to the end of the input is entries, with or without white
	// space between them, to append side by side or not at all.
	OneBatch
)

// Conversation is a conversation with a peer that another front door than Serve has
// admitted: see Server.Converse.
type Conversation struct {
	// Token is the SHA-256 of the token that admitted the peer, and gives it its rights. If
	// it is nil, the peer has all rights.
	Token *[32]byte
	// Name is that of the certificate, for the log; it may be empty. A token has its own.
	Name string
	// Form is the form of the input.
	Form Form

	// On and Receipt are what "if", "once" and "receipt" are in a message. They are for the
	// forms other than Messages, in which replies have no ids.
	On      appends.Condition
	Receipt bool
	// OnReply, if not nil, is told the outcome of each write before its reply is written.
	OnReply func(Outcome)
}

// Outcome is what has become of a write.
type Outcome uint8

const (
	Stored       Outcome = iota
	Unmet                // its condition was not met: an appends.ConditionError
	Unacceptable         // not stored, and would not be if it were sent again
	TooLarge             // the same, because of a limit
	Forbidden            // the same, because of the peer's rights
	Unstored             // not stored, but may be if it is sent again
	Unknown              // it may or may not be stored
)

// Why a conversation does not begin. ErrUnauthorized also ends one whose token is revoked.
var (
	ErrTooManyConnections = errors.New("too many connections")
	ErrUnauthorized       = errUnauthorized
)

// Converse serves a conversation over nc as Serve does over a connection of its own: with the
// same limits, in the same memory, and until Shutdown. It returns when nc is closed. Lines
// may be written in pieces of any length.
//
// If nothing was read or written, the error is ErrTooManyConnections, ErrServerClosed or
// ErrUnauthorized; otherwise it is what cut the conversation. It is nil only if everything
// that was accepted has been answered.
func (s *Server) Converse(nc net.Conn, with Conversation) error {
	c := newConversation(s, nc, &with)
	defer nc.Close()
	if err := s.enter(c, true); err != nil {
		return err
	}
	defer s.leave(c)
	defer c.cancel(nil)
	if c.rights = (Rights{Read: true, Write: true}); with.Token != nil && !c.authorizeHash(*with.Token) {
		s.counts.unauthorized.Add(1)
		return ErrUnauthorized
	}
	c.converse(nil)
	c.logClose()
	return context.Cause(c.ctx)
}

// newConversation returns the connection of a conversation.
func newConversation(s *Server, nc net.Conn, with *Conversation) *conn {
	c := newPlainConn(s, nc)
	c.quiet, c.relayed = true, true
	c.writer.onReply = with.OnReply
	if with.Form != Messages {
		terms := message.NewTerms(with.On, with.Receipt)
		c.reader.entries, c.reader.whole = true, with.Form != EntryLines
		c.reader.parse = func(line, entries []byte) (m message.Message, out []byte, err error) {
			m, out = message.ParseEntries(line, entries, terms, with.Form == OneBatch)
			return m, out, nil
		}
	}
	if with.Name != "" && with.Token == nil { // a token's name is added with its rights
		c.log = c.log.With().Str("name", with.Name).Logger()
	}
	c.greetAt(zerolog.DebugLevel)
	return c
}

// outcome is that of the next write to be replied to.
func (g *group) outcome() Outcome {
	_, unmet := errors.AsType[*appends.ConditionError](g.err)
	switch {
	case g.refuses():
		return g.refusals[g.repliedRefusals].outcome
	case g.next().Index > 0:
		return Stored
	case unmet:
		return Unmet
	case strings.HasPrefix(g.err.Error(), "not stored: "):
		return Unstored
	}
	return Unknown
}
