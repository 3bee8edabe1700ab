// Package reader reads the directories of a log without opening it. It takes no lock and changes no
// byte, so it reads a stopped log, a backup, a copy on read-only media, or a log that a server is
// writing.
//
// It reads everything that can be verified. Index records and blobs replace a missing or damaged
// segment, and an entry that is intact nowhere is reported in its place.
package reader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"tcp-log-server/segment"
)

// Memory in place of a directory means that the log keeps that part in memory, so it is unreadable
// here.
const Memory = segment.Memory

var (
	// ErrNoLog: the directory holds no log.
	ErrNoLog = errors.New("there is no log")
	// ErrDamaged: the disk no longer has what was acknowledged.
	ErrDamaged = segment.ErrDamaged
	// ErrArchived: the entries are only in the log's archive.
	ErrArchived = errors.New("are in the log's archive only,")
	// ErrLost: fsck has recorded that the entry is permanently lost.
	ErrLost = segment.ErrLost
)

// Config names the directories of a log. WAL and Blobs default to wal and blobs in Data; BlobStore
// replaces Blobs.
type Config = segment.Dirs

// Log is a log as it was when it was opened, through its head at that time. It is safe for
// concurrent use.
type Log struct {
	*segment.Store
	id    segment.StoreID
	known bool // whether id is known
}

// ID returns the ID of the log's store, if it is known.
func (l *Log) ID() (id segment.StoreID, known bool) { return l.id, l.known }

// Open captures the state of the directories. ErrNoLog says that there is no log in config.Data.
// Damage is not an error of Open, but of the damaged entries. Nothing stays open.
func Open(config Config) (*Log, error) {
	if fi, err := os.Stat(config.Data); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoLog, config.Data)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLog, err)
	} else if !fi.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrNoLog, config.Data)
	}
	store, err := segment.Capture(config)
	if err != nil {
		return nil, err
	}
	if len(store.Files) == 0 && store.Records == 0 {
		return nil, fmt.Errorf("%w in %s: it has neither segments nor an index", ErrNoLog, config.Data)
	}
	l := &Log{Store: store}
	if store.Dirs.WAL != Memory {
		l.id, l.known, _ = segment.FindMark(store.Dirs.WAL)
	}
	for _, f := range store.Files {
		switch {
		case errors.Is(f.Err, segment.ErrVersion):
			return nil, f.Err
		case !f.Known():
		case !l.known:
			l.id, l.known = f.Header.Store, true
		case f.Header.Store != l.id:
			f.Err = fmt.Errorf("%w: %s belongs to store %s, want %s", ErrDamaged, f.Path, f.Header.Store, l.id)
		}
	}
	return l, nil
}
