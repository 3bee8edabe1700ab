//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"tcp-log-server/segment"
)

// A replica is a node's data on disk: the stream that holds the log, and the logs of the Raft groups that
// agree on it. While a NATS server runs, nothing else writes to them.
//
// This file exists because of what NATS does with a damaged block: it cuts the block at the damage and
// counts the messages after it as deleted. A node that does so and then leads hands its holes to the
// others.
type replica struct {
	dir    string // the node's
	stream string
	alone  bool // the cluster has no other node, so there is no Raft log
}

const (
	// countFile says how many messages a replica certainly has.
	countFile = "REPLICA"
	// asideDir is where putAside moves the replica, and cut what it cuts off. Earlier contents are removed.
	asideDir = "replaced"
	// againFile makes the next start fetch the replica again; see FetchAgain.
	againFile = "FETCH-AGAIN"
)

// A count says what a replica had when the count was written.
type count struct {
	Messages uint64 `json:"messages"` // this many are on disk, synced
	// Clean says that the node has since stopped in an orderly way, leaving Blocks files of Bytes in
	// total.
	Clean  bool  `json:"clean"`
	Blocks int   `json:"blocks,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// State is moving while the replica is put aside, and then fetching until it has Messages again:
	// until then, having fewer is not damage.
	State string `json:"state,omitempty"`
	// Problem is the damage that the last run found, if any: the next one fetches the replica again.
	Problem string `json:"problem,omitempty"`
}

const (
	moving   = "moving"
	fetching = "fetching"
)

func (r *replica) countPath() string { return filepath.Join(r.dir, countFile) }
func (r *replica) root() string      { return filepath.Join(r.dir, natsserver.JetStreamStoreDir) }
func (r *replica) streams() string   { return filepath.Join(r.root(), "$G", "streams") }
func (r *replica) groups() string    { return filepath.Join(r.root(), systemAccount, "_js_") }

// messages returns the directory of the log's blocks.
func (r *replica) messages() string { return filepath.Join(r.streams(), r.stream, "msgs") }

// scanner returns a scanner of the log.
func (r *replica) scanner() *scanner {
	return &scanner{dir: r.messages(), name: r.stream, log: true}
}

// A verdict is the result of checking a replica while no server runs on it.
type verdict int

const (
	whole   verdict = iota // it may take part
	empty                  // there is nothing: the disk or the cluster is new
	damaged                // it must be fetched again
)

// check examines the replica as the last run left it. If it is damaged, the error says how; any other
// error is a failed read. after is what the replica certainly has.
func (r *replica) check(ctx context.Context) (v verdict, after count, err error) {
	var had count
	found, err := readJSON(r.countPath(), &had)
	if err != nil {
		return damaged, count{}, err
	}
	there, err := exists(r.root())
	again, err2 := exists(filepath.Join(r.dir, againFile))
	switch err := errors.Join(err, err2); {
	case err != nil:
		return whole, had, err
	case !there && had.Messages == 0:
		return empty, had, nil
	case had.State == moving:
		return damaged, had, errors.New("it was being put aside when the last run ended")
	case had.Problem != "":
		return damaged, had, errors.New(had.Problem)
	case !there:
		return damaged, had, fmt.Errorf("the replica had %d messages, and %s is gone", had.Messages, r.root())
	case again:
		return damaged, had, fmt.Errorf("it is to be fetched again, as `tcp-log-server cluster repair` was told: "+
			"to have the node take part with it as it is, stop the node and remove %s", filepath.Join(r.dir, againFile))
	case !found:
		return damaged, had, fmt.Errorf("there is a replica in %s, and no file %s that says what it had", r.root(), r.countPath())
	}
	if had.Clean && r.unchanged(had) {
		return whole, had, nil
	}
	return r.checkAll(ctx, had)
}

// unchanged reports whether the replica looks as a clean stop left it. It reads no block: NATS will not
// either, and so loses nothing, as long as it trusts its own summary.
func (r *replica) unchanged(had count) bool {
	s := r.scanner()
	list, err := s.blocks()
	if err != nil || len(list) != had.Blocks {
		return false
	}
	var size int64
	for _, block := range list {
		info, err := os.Stat(s.path(block))
		if err != nil {
			return false
		}
		size += info.Size()
	}
	if size != had.Bytes {
		return false
	}
	if had.Messages == 0 {
		return true
	}
	sum, ok := readSummary(s.dir, s.name)
	return ok && sum == summary{messages: had.Messages, first: 1, last: had.Messages}
}

// checkAll reads all blocks of the log and of the Raft groups.
func (r *replica) checkAll(ctx context.Context, had count) (verdict, count, error) {
	if err := r.checkGroups(ctx, had.Clean); err != nil {
		return verdictOf(err), had, err
	}
	s := r.scanner()
	_, err := s.advance(ctx)
	if damage := (*Damage)(nil); errors.As(err, &damage) && r.mayCut(s, had) {
		err = r.cut(s)
	}
	if err != nil {
		return verdictOf(err), had, err
	}
	if s.last < had.Messages && had.State != fetching {
		return damaged, had, fmt.Errorf("the replica has %d messages, and had %d", s.last, had.Messages)
	}
	had.Messages = max(had.Messages, s.last)
	return whole, had, nil
}

// mayCut reports whether the log may end before the damage at which s stopped. After a crash it may, if
// everything certain to be on disk precedes the damage: the rest was not synced, and NATS takes it from
// the Raft log again. Without a Raft log only the last record may be torn.
func (r *replica) mayCut(s *scanner, had count) bool {
	return !had.Clean && s.last >= had.Messages && (!r.alone || s.tornEnd())
}

// verdictOf returns the verdict for an error of a scan.
func verdictOf(err error) verdict {
	if damage := (*Damage)(nil); errors.As(err, &damage) {
		return damaged
	}
	return whole // and the error stops the start
}

// checkGroups reads the logs of all Raft groups. After a crash the newest record of each may be torn.
func (r *replica) checkGroups(ctx context.Context, clean bool) error {
	entries, err := os.ReadDir(r.groups())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		s := scanner{dir: filepath.Join(r.groups(), e.Name(), "msgs"), name: e.Name()}
		torn, err := s.advance(ctx)
		if err != nil && (clean || !torn || !s.tornEnd()) {
			return err
		}
	}
	return err
}

// tornEnd reports whether the damage at which s stopped is the last record of its block: no whole record
// follows.
func (s *scanner) tornEnd() bool {
	buf, err := os.ReadFile(s.path(s.block))
	if err != nil {
		return false
	}
	sum := blockSum(s.name, s.block)
	for off := s.off + 1; off+recordHeader+recordSum <= int64(len(buf)); off++ {
		if seq, _, what := record(buf[off:], sum); what == "" && seq&^(erasedBit|tombstoneBit) > s.last {
			return false
		}
	}
	return true
}

// cut ends the log after the last whole record that s has read. The rest goes to asideDir.
func (r *replica) cut(s *scanner) error {
	list, err := s.blocks()
	if err != nil {
		return err
	}
	aside, err := r.makeAside()
	if err != nil {
		return err
	}
	for _, block := range list {
		if block > s.block {
			if err := segment.Rename(s.path(block), filepath.Join(aside, filepath.Base(s.path(block)))); err != nil {
				return err
			}
		}
	}
	content, err := os.ReadFile(s.path(s.block))
	if err != nil {
		return err
	}
	if err := segment.ReplaceFile(filepath.Join(aside, filepath.Base(s.path(s.block))), content); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.dir, "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := segment.ReplaceFile(s.path(s.block), content[:s.off]); err != nil {
		return err
	}
	return segment.SyncDir(s.dir)
}

// makeAside makes an empty asideDir.
func (r *replica) makeAside() (string, error) {
	aside := filepath.Join(r.dir, asideDir)
	if err := os.RemoveAll(aside); err != nil {
		return "", err
	}
	return aside, segment.MakeDir(aside)
}

// putAside moves the replica to asideDir, so that the node fetches it again. The node's votes in each
// Raft group stay: a second vote in one election would be a lie. putAside may be called again after a
// crash.
func (r *replica) putAside(had count) error {
	if had.State != moving {
		if _, err := r.makeAside(); err != nil {
			return err
		}
		if err := writeJSON(r.countPath(), count{Messages: had.Messages, State: moving}); err != nil {
			return err
		}
	}
	aside := filepath.Join(r.dir, asideDir)
	move := func(path string) error {
		rel, err := filepath.Rel(r.root(), path)
		if err != nil {
			return err
		}
		to := filepath.Join(aside, rel)
		if there, err := exists(path); !there || err != nil {
			return err
		}
		if err := segment.MakeDir(filepath.Dir(to)); err != nil {
			return err
		}
		if err := os.RemoveAll(to); err != nil { // from a crash: what is newer is less
			return err
		}
		return segment.Rename(path, to)
	}
	if err := move(r.streams()); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.groups())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		for _, part := range []string{"msgs", "snapshots"} {
			if err := move(filepath.Join(r.groups(), e.Name(), part)); err != nil {
				return err
			}
		}
	}
	if err := writeJSON(r.countPath(), count{Messages: had.Messages, State: fetching}); err != nil {
		return err
	}
	again := filepath.Join(r.dir, againFile)
	if there, err := exists(again); !there || err != nil {
		return err
	}
	return segment.Remove(again)
}

// sync makes what s has read durable, starting with the block from.
func (s *scanner) sync(from int) error {
	list, err := s.blocks()
	if err != nil {
		return err
	}
	for _, block := range list {
		if block < from || block > s.block {
			continue
		}
		f, err := os.OpenFile(s.path(block), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return nil
	}
	return segment.SyncDir(s.dir)
}

// FetchAgain makes the next start of the node in dir, which must be stopped, put its replica aside and
// fetch another, once the other nodes have verified theirs. It returns the node's name.
func FetchAgain(dir string) (node string, err error) {
	var own identity
	switch found, err := readJSON(filepath.Join(dir, identityFile), &own); {
	case err != nil:
		return "", err
	case !found:
		return "", notNode(dir)
	case len(own.Members) == 1:
		return own.Node, errors.New("the cluster has one node, and there is no other to fetch the log from: restore it from a copy")
	}
	lock, err := lockStopped(dir)
	if err != nil {
		return own.Node, err
	}
	err = segment.ReplaceFile(filepath.Join(dir, againFile), []byte(fetchAgainText+"\n"))
	return own.Node, errors.Join(err, lock.Close())
}

const fetchAgainText = `The next start of this node puts its replica aside and fetches another from the other nodes.`
