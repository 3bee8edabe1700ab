package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A server ignores members of a message that it does not know. One without "if" would store
// an entry without a condition, and one without "where" would send everything. So before
// such a message is sent, the server has said on the same connection what it supports: after
// a reconnect it may be another server.

// features is what a server has said about itself.
type features struct {
	version string
	names   []string
	head    *uint64 // of the log, if the server said it
	rights  string  // "write" if the peer may not read, else empty
	err     error   // it could not say
}

// parseFeatures parses the answer to {"stat":true}.
func parseFeatures(stat json.RawMessage) *features {
	var m struct {
		Version  string
		Features []string
		Head     *uint64
		Rights   string
	}
	if err := json.Unmarshal(stat, &m); err != nil {
		return &features{err: fmt.Errorf("%w: the answer to {\"stat\":true} is %.100q", ErrProtocol, stat)}
	}
	return &features{version: m.Version, names: m.Features, head: m.Head, rights: m.Rights}
}

// refusedFeatures returns the features of a server that has answered {"stat":true} with an
// error.
func refusedFeatures(text string) *features {
	if tooOldToTell(text) {
		return &features{}
	}
	return &features{err: fmt.Errorf("%w: the server does not report its features: %s", ErrUnsupported, text)}
}

// answersAsk reports whether the fault is an answer to {"stat":true}.
func answersAsk(fault string) bool {
	return tooOldToTell(fault) || strings.HasPrefix(fault, "unauthorized: ") || strings.HasPrefix(fault, "stat: ")
}

// tooOldToTell reports whether the fault is from a server that does not know {"stat":true}.
func tooOldToTell(fault string) bool { return strings.HasPrefix(fault, "invalid message") }

// check returns an error unless the server has all features in needs.
func (f *features) check(needs []string) error {
	if f.err != nil {
		return f.err
	}
	for _, name := range needs {
		if !slices.Contains(f.names, name) {
			version := "which does not tell its version"
			if f.version != "" {
				version = "version " + f.version
			}
			return fmt.Errorf("%w: the server, %s, lacks the feature %q", ErrUnsupported, version, name)
		}
	}
	return nil
}

// askLine asks a server for its features. It does not end like the line of an append: see
// unwritten.
const askLine = `{"stat":true} ` + "\n"

// asked is the progress of the question for the features on a pipeline.
type asked int

const (
	notAsked asked = iota
	toAsk          // the next write takes it along
	asking
	answered
)

// has returns nil if the server at the other end of the pipeline has all features in needs.
// The first call asks it, between the appends of others.
func (p *pipeline) has(ctx context.Context, needs []string) error {
	f := p.features.Load()
	if f == nil {
		p.ask()
		select {
		case <-p.told:
		case <-p.over:
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.cause
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		f = p.features.Load()
	}
	return f.check(needs)
}

// ask causes the question to be written, unless it has been.
func (p *pipeline) ask() {
	p.mu.Lock()
	if p.asked != notAsked || p.cause != nil {
		p.mu.Unlock()
		return
	}
	p.asked = toAsk
	idle, reclaim := !p.busy, p.reads == byNone
	p.busy = true
	if reclaim {
		p.reads = byReader
	}
	p.mu.Unlock()
	if reclaim {
		p.reclaim <- struct{}{} // never blocks: it is received each time
	}
	if idle {
		p.wake <- struct{}{} // has room: busy says that no other goroutine has sent
	}
}

// tells handles the answer to the question, and reports whether r is that answer.
func (p *pipeline) tells(r *reply) bool {
	if r.stat == nil && !answersAsk(r.fault) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked != asking {
		return false
	}
	p.asked = answered
	if r.stat != nil {
		p.features.Store(parseFeatures(r.stat))
	} else {
		p.features.Store(refusedFeatures(r.fault))
	}
	close(p.told)
	return true
}

// answeredAll reports whether no answer is due. The caller holds mu.
func (p *pipeline) answeredAll() bool {
	return p.first == len(p.calls) && p.asked != toAsk && p.asked != asking
}

// features receives the answer to the question for the server's features.
func (s *stream) features(ctx context.Context) (*features, error) {
	line, err := s.line(ctx)
	if err != nil {
		return nil, err
	}
	r, ok := parseReply(line)
	switch {
	case ok && r.stat != nil:
		return parseFeatures(r.stat), nil
	case ok && tooOldToTell(r.fault):
		return &features{}, nil
	case ok && r.fault != "":
		return nil, faultError(r.fault)
	}
	return nil, fmt.Errorf("%w: the answer to {\"stat\":true} is %.100q", ErrProtocol, line)
}
