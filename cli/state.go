package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/daemon"
	"tcp-log-server/internal/position"
)

// stateEvery is the shortest time between two saves of a position.
const stateEvery = 100 * time.Millisecond

// stateFile is the file of --state, which says which entries have been printed.
type stateFile struct {
	path   string
	client *client.Client

	at      position.Position // content of the file
	head    uint64            // of the log, when it was first examined
	saved   bool              // something has been saved
	resumed atomic.Bool       // the connection has changed since the log was examined
}

// open reads the file and examines the log. after is the last entry that has been printed, nil if
// there is no file yet.
func (s *stateFile) open(ctx context.Context) (after *uint64, err error) {
	at, found, err := position.Load(s.path)
	if err != nil {
		return nil, fmt.Errorf("--state: %w", err)
	}
	store, head, err := s.log(ctx)
	if err != nil {
		return nil, err
	}
	s.at, s.head = position.Position{Store: store}, head
	switch {
	case !found:
		return nil, nil
	case at.Store != store:
		return nil, fmt.Errorf("--state: %s is of another log, whose name is %.40q; this one is %s", s.path, at.Store, store)
	case at.Index > head && (at.Head == 0 || at.Head > head):
		return nil, fmt.Errorf("--state: %s is at entry %d, and the log ends at %d: has it been restored from a backup? to begin again, remove the file", s.path, at.Index, head)
	}
	s.at = at
	return &s.at.Index, nil
}

// log asks the server for the name and the head of its log.
func (s *stateFile) log(ctx context.Context) (store string, head uint64, err error) {
	text, err := s.client.Stat(ctx)
	if err != nil {
		return "", 0, err
	}
	var stat daemon.Stat
	if err := json.Unmarshal(text, &stat); err != nil {
		return "", 0, fmt.Errorf("%w: %w", client.ErrProtocol, err)
	}
	if stat.Rights == "write" {
		return "", 0, fmt.Errorf("%w: this token may not read", client.ErrUnauthorized)
	}
	if stat.Store == "" {
		return "", 0, fmt.Errorf("%w: the server, version %s, does not tell the name of its log, which --state needs", client.ErrUnsupported, stat.Version)
	}
	return stat.Store, stat.Head, nil
}

// check examines the log again, once after each new connection.
func (s *stateFile) check(ctx context.Context) error {
	if !s.resumed.CompareAndSwap(true, false) {
		return nil
	}
	store, _, err := s.log(ctx)
	if err == nil && store != s.at.Store {
		err = fmt.Errorf("%w: its name is %s, want %s", client.ErrDiverged, store, s.at.Store)
	}
	return err
}

// save writes an index to the file, unless it holds a later one.
func (s *stateFile) save(index uint64) error {
	next := s.at
	if index > next.Index {
		next.Index, next.Head = index, 0
		if !s.saved && index > s.head { // the read begins there, and has printed nothing yet
			next.Head = s.head
		}
	}
	s.saved = true
	if err := next.Save(s.path); err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	s.at = next
	return nil
}

// follow saves the position of written entries, until ctx ends. If that fails, it calls failed.
func (s *stateFile) follow(ctx context.Context, out *lineWriter, failed func()) error {
	tick := time.NewTicker(stateEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if index := out.written(); index > s.at.Index {
			if err := s.save(index); err != nil {
				failed()
				return err
			}
		}
	}
}
