package engine

import (
	"errors"

	"tcp-log-server/segment"
)

// Opening.
var (
	// ErrLocked: another process has the data directory open.
	ErrLocked = segment.ErrLocked
	// ErrDamaged: what the disk holds is not what was acknowledged. Nothing has
	// been changed; `tcp-log-server fsck` says what is wrong and what can be done.
	ErrDamaged = segment.ErrDamaged
)

// Appending. A completion's error wraps one of these, and which one it is tells
// whether the entries may be sent again.
var (
	// ErrNotStored: the entries are not in the log and never will be. It is safe
	// to append them again.
	ErrNotStored = errors.New("not stored")
	// ErrUnknown: the entries may or may not be in the log; the next start tells.
	// Appending them again may store them twice.
	ErrUnknown = errors.New("outcome unknown")
)

// Using a log that has come to its end.
var (
	// ErrClosed: the log has been closed. Appends that get it also get ErrNotStored.
	ErrClosed = errors.New("log is closed")
	// ErrMoved: the directories of the log, or its open segment, have been removed,
	// moved away or exchanged while it was open, so what is appended may have no name.
	// It comes with ErrFailed.
	ErrMoved = errors.New("the log's files have been moved")
	// ErrFailed: a sync has failed, so the log takes no more appends until it has
	// been opened again, by a process that reads the disk again. Reads go on.
	// Appends that get it also get ErrNotStored.
	ErrFailed = errors.New("log has failed and takes no more appends")
)

// ErrLost: fsck has recorded that the entry is lost for good.
var ErrLost = segment.ErrLost
