//go:build !nocluster

package cluster

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// A logger forwards the NATS server's log: warnings and errors as such, everything else as debug
// messages. It implements the server's Logger.
type logger struct {
	log     zerolog.Logger
	members []Member
	fatal   func(msg string) // called with the reason when the server would exit

	mu     sync.Mutex
	told   map[string]time.Time // when a line was logged, by meaning and peer
	hint   string               // the last hint,
	hinted time.Time            // and when there was last a reason for it
}

// tellEvery is how often a line with the same meaning is logged for the same peer: nodes try to connect
// every second.
const tellEvery = time.Minute

// hintTime is how long a hint explains why a node is not ready, after the last message with it.
const hintTime = 10 * time.Second

func (l *logger) Noticef(format string, v ...any) { l.debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.debug(fmt.Sprintf(format, v...)) }

func (l *logger) Warnf(format string, v ...any) { l.tell(zerolog.WarnLevel, fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any) {
	l.tell(zerolog.ErrorLevel, fmt.Sprintf(format, v...))
}

func (l *logger) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.tell(zerolog.ErrorLevel, msg)
	l.fatal(msg)
}

func (l *logger) debug(msg string) {
	if msg = strings.TrimSpace(msg); msg != "" {
		l.log.Debug().Msg("nats: " + msg)
	}
}

// A meaning is what a message of the server means to an operator.
type meaning struct {
	has   string // what the message contains
	level zerolog.Level
	hint  string // what to do
}

var meanings = []meaning{
	{"Plaintext passwords", zerolog.DebugLevel, ""}, // the passwords are random, and stay in this process
	{"certificate", zerolog.ErrorLevel, "nodes refuse each other's certificates: give all of them certificates for their own " +
		"addresses, from the authority in CLUSTER_TLS_CA"},
	{"tls:", zerolog.ErrorLevel, "nodes do not agree on TLS: set CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA on all of them or on none"},
	{"TLS required", zerolog.ErrorLevel, "nodes do not agree on TLS: set CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA on all of them or on none"},
	{"authentication error", zerolog.ErrorLevel, "the other node has another secret, or a replica of another log: give all nodes the same CLUSTER_SECRET_FILE; a node without a replica fetches the log of the others"},
	{"Authorization Violation", zerolog.ErrorLevel, "the other node has another secret, or a replica of another log: give all nodes the same CLUSTER_SECRET_FILE; a node without a replica fetches the log of the others"},
	{"Error trying to connect to route", zerolog.WarnLevel, ""}, // the other node is not running: the status says so too
	{"Error flushing", zerolog.WarnLevel, ""},                   // the other end is gone
	{"Metalayer blocking snapshot", zerolog.DebugLevel, ""},
}

// tell logs a warning or an error as one line, with advice if there is any.
func (l *logger) tell(level zerolog.Level, msg string) {
	msg = strings.Join(strings.Fields(msg), " ")
	var known, hint string
	for _, m := range meanings {
		if strings.Contains(msg, m.has) {
			known, level, hint = m.has, m.level, m.hint
			break
		}
	}
	if hint != "" {
		l.mu.Lock()
		l.hint, l.hinted = hint, time.Now()
		l.mu.Unlock()
	}
	peer := l.peer(msg)
	if hint != "" {
		known = hint // several messages share it
	}
	if known != "" && l.again(known+peer) {
		level = zerolog.DebugLevel
	}
	e := l.log.WithLevel(level)
	if peer != "" {
		e = e.Str("peer", peer)
	}
	if hint != "" {
		e = e.Str("hint", hint)
	}
	e.Msg("nats: " + msg)
}

// lately returns advice from the messages of the last seconds, "" if there is none.
func (l *logger) lately() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.hinted) > hintTime {
		return ""
	}
	return l.hint
}

// again reports whether a line was already logged within tellEvery.
func (l *logger) again(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.told[key]) < tellEvery {
		return true
	}
	if l.told == nil {
		l.told = make(map[string]time.Time)
	}
	l.told[key] = time.Now()
	return false
}

// peer returns the member that a message is about: the one whose address it contains, or the only one
// with the host of the connection.
func (l *logger) peer(msg string) string {
	for _, m := range l.members {
		if strings.Contains(msg, m.Addr) {
			return m.Name
		}
	}
	addr, _, _ := strings.Cut(msg, " - ")
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	var name string
	for _, m := range l.members {
		if its, _, _ := net.SplitHostPort(m.Addr); its == host {
			if name != "" {
				return ""
			}
			name = m.Name
		}
	}
	return name
}
