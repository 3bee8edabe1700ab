//go:build !nocluster

package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/segment"
)

// A Stopped is the directory of a node that does not run, opened for reading its log. Nothing in it is
// changed.
type Stopped struct {
	Node string
	// Metadata is that of the stream. If it is damaged, Nameless says how.
	Metadata map[string]string
	Nameless error

	replica *replica
	lock    *segment.Lock
}

// OpenStopped opens the directory of a stopped node. Close it after use.
func OpenStopped(dir string) (_ *Stopped, err error) {
	var own identity
	switch found, err := readJSON(filepath.Join(dir, identityFile), &own); {
	case err != nil:
		return nil, err
	case !found:
		return nil, notNode(dir)
	}
	lock, err := lockStopped(dir)
	if err != nil {
		return nil, err
	}
	s := &Stopped{Node: own.Node, replica: &replica{dir, own.Stream, len(own.Members) == 1}, lock: lock}
	blocks, err := s.replica.scanner().blocks()
	if s.Metadata, s.Nameless = s.replica.metadata(); err == nil && len(blocks) == 0 {
		err = cmp.Or(s.Nameless, errors.New("it has no messages"))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the node has no replica of the log: %w", err), lock.Close())
	}
	return s, nil
}

// lockStopped locks the directory of a node that must have been stopped.
func lockStopped(dir string) (*segment.Lock, error) {
	lock, err := segment.LockStore(dir)
	if errors.Is(err, segment.ErrLocked) {
		err = fmt.Errorf("%s is in use: stop the node first", dir)
	}
	return lock, err
}

// Close releases the directory.
func (s *Stopped) Close() error { return s.lock.Close() }

// A Logged is a message in the node's Raft log: the nodes agreed on it, or were about to, and it may be
// in the stream already.
type Logged struct {
	Subject string
	Message []byte
	// Last is how many messages the stream had to have for it to be stored, and LastOnSubject which of
	// them had to be the last on its subject; nil if there is no such condition.
	Last, LastOnSubject *uint64
}

// Read reads the whole replica: it passes the messages of the stream to stored, in order, and then those
// of its Raft log to logged. It verifies their checksums; an error from stored is damage. A message is
// valid during the call.
//
// After a *Damage, which no crash leaves behind, stored has been passed everything before it.
func (s *Stopped) Read(ctx context.Context, stored func(seq uint64, message []byte) error, logged func(Logged) error) error {
	r := s.replica
	var had count
	if found, err := readJSON(r.countPath(), &had); err != nil {
		return fmt.Errorf("how many messages the replica had: %w", err)
	} else if !found {
		return fmt.Errorf("there is no file %s, which says how many messages the replica had", r.countPath())
	}
	if had.State == moving {
		return fmt.Errorf("the node stopped while it was putting its replica aside: the parts are in %s and in %s",
			r.root(), filepath.Join(r.dir, asideDir))
	}
	scan := r.scanner()
	scan.each = stored
	_, err := scan.advance(ctx)
	if damage := (*Damage)(nil); errors.As(err, &damage) && r.mayCut(scan, had) {
		err = nil // the end was not synced, and the Raft log has it
	}
	if err != nil {
		return err
	}
	there, err := s.readGroups(ctx, had.Clean, logged)
	if err == nil && !there {
		err = &Damage{File: r.groups(), After: scan.last, What: "the node's Raft log is not there: it may have had more"}
	}
	if err != nil {
		return err
	}
	if scan.last >= had.Messages {
		return nil
	}
	what := fmt.Sprintf("the replica ends there, and had %d messages", had.Messages)
	if aside := filepath.Join(r.dir, asideDir); had.State == fetching {
		what += ": it was being fetched again"
		if there, err := exists(aside); err == nil && there {
			what += ", and the one before is in " + aside
		}
	}
	return &Damage{File: r.messages(), After: scan.last, What: what}
}

// readGroups passes the messages in the stream's Raft logs to logged. It returns whether there is such a log;
// a node that is alone needs none.
func (s *Stopped) readGroups(ctx context.Context, clean bool, logged func(Logged) error) (there bool, err error) {
	r := s.replica
	if r.alone {
		return true, nil
	}
	entries, err := os.ReadDir(r.groups())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "S-") { // those of streams
			continue
		}
		scan := scanner{dir: filepath.Join(r.groups(), e.Name(), "msgs"), name: e.Name()}
		scan.each = func(_ uint64, record []byte) error {
			return raftMessages(record, func(subject string, headers, message []byte) error {
				if !strings.HasPrefix(subject, r.stream+".") {
					return nil
				}
				m := Logged{Subject: subject, Message: message}
				if n, ok := headerNumber(headers, jetstream.ExpectedLastSeqHeader); ok {
					m.Last = &n
				}
				if n, ok := headerNumber(headers, jetstream.ExpectedLastSubjSeqHeader); ok {
					m.LastOnSubject = &n
				}
				return logged(m)
			})
		}
		torn, err := scan.advance(ctx)
		there = there || scan.block > 0
		if err != nil && (clean || !torn || !scan.tornEnd()) {
			return true, err
		}
	}
	return there, nil
}

// notNode returns the error for a directory that does not belong to a node.
func notNode(dir string) error {
	if _, err := os.Stat(filepath.Dir(dir)); err != nil {
		return err
	}
	return fmt.Errorf("%s is not a node's directory: it has no file %s; beside a NATS cluster (NATS_URL) the replicas are on the NATS servers", dir, identityFile)
}

// metadata reads NATS's own metadata of the log's stream, and verifies its checksum.
func (r *replica) metadata() (map[string]string, error) {
	path := filepath.Join(r.streams(), r.stream, "meta.inf")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	want, err := os.ReadFile(filepath.Join(filepath.Dir(path), "meta.sum"))
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(r.stream))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return nil, err
	}
	_, _ = sum.Write(text)
	if got := hex.EncodeToString(sum.Sum(nil)); got != string(bytes.TrimSpace(want)) {
		return nil, fmt.Errorf("%s: its checksum is %s, want %s", path, got, want)
	}
	var meta struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return meta.Metadata, nil
}
