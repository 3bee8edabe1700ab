package engine

import (
	"errors"

	"tcp-log-server/segment"
)

// Errors when opening.
var (
	// ErrLocked: another process has the data directory open.
	ErrLocked = segment.ErrLocked
	// ErrDamaged: the data on disk is not what was acknowledged. Nothing has been
	// changed; `tcp-log-server fsck` says what is wrong and what can be done.
	ErrDamaged = segment.ErrDamaged
)

// Errors when appending. A completion's error wraps one of these, which says whether the
// entries may be sent again.
var (
	// ErrNotStored: the entries are not in the log and never will be. It is safe
	// to append them again.
	ErrNotStored = errors.New("not stored")
	// ErrUnknown: the entries may or may not be in the log; the next start will tell.
	// Appending them again may store them twice.
	ErrUnknown = errors.New("outcome unknown")
)

// Errors of a log that has ended.
var (
	// ErrClosed: the log has been closed. Appends that get it also get ErrNotStored.
	ErrClosed = errors.New("log is closed")
	// ErrMoved: the log's directories or its open segment were removed, moved or replaced
	// while it was open, so appended entries may be in files without a name. It comes
	// with ErrFailed.
	ErrMoved = errors.New("the log's files have been moved")
	// ErrFailed: a sync has failed, so the log takes no more appends until a new process
	// has opened it and read the disk again. Reads continue. Appends that get it also get
	// ErrNotStored.
	ErrFailed = errors.New("log has failed and takes no more appends")
)

// ErrLost: fsck has recorded that the entry is permanently lost.
var ErrLost = segment.ErrLost
