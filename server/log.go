package server

import (
	"context"

	"tcp-log-server/appends"
)

// Log is what a server needs of an append-only log; engine.Log is the local one. Entries go in and
// come out as runs: canonical JSON, each entry followed by a newline. All methods may be called from
// any goroutine.
//
// Its types are built-in or from package appends, so that an implementation need not import this
// package.
type Log interface {
	// Append gives count entries to the log. It does not wait for other calls, but may take the time
	// of one sync, and done may have run when it returns. The log owns the bytes until done has run.
	// Calls take effect in order, and the entries of one call stay together: all are stored or none.
	// on is the condition for storing them.
	//
	// done runs once, in the order of the calls, and must not block. If err is nil, the entries are
	// durable where the result says. Otherwise its text goes to the client: it must say whether the
	// entries are "not stored" and may be sent again, or whether the outcome is unknown. An
	// *appends.ConditionError says that on was not met. With appends.Once, an entry whose Place has
	// an index is stored there, whatever the error.
	Append(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))

	// Submit is Append for a caller that must not wait: done runs later.
	Submit(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))

	// AwaitOnce waits until the log can tell for any entry whether it already holds it, as appends
	// with appends.Once need. If ctx is done, it does not wait.
	AwaitOnce(ctx context.Context) error

	// Head returns the index of the last durable entry, 0 in an empty log. An entry whose done has
	// run is not beyond any later Head.
	Head(ctx context.Context) (uint64, error)

	// Acked returns the head as followers may see it: done has run for every append through it.
	// moved is closed once there is a later one.
	Acked() (head uint64, moved <-chan struct{})

	// Read passes the entries from..through, none of them beyond the head, to fn in order and in
	// runs of any length. The bytes are valid only during the call. If err is not nil, the count
	// entries from first on cannot be read; if it has a method Lost() bool that returns true, they
	// are lost for good. Read ends early with fn's error or ctx's. The entries were stored at time,
	// in µs since 1970 UTC, or 0 if that is not known.
	Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error

	// Since returns the index of the first entry that was stored at time or later, in µs since 1970
	// UTC; if there is none, the index after the head.
	Since(ctx context.Context, time int64) (index uint64, err error)
}

// nearLog is a Log whose first entries may be far away: a Read of them waits for an answer from
// another machine. A Log need not implement it.
type nearLog interface {
	// Near returns the first index from which on all entries are here: 1 if they all are. It is
	// called often and never waits.
	Near() uint64
}

// distantLog is a Log whose Head and Since ask other machines: they may take seconds, and fail. A
// Log need not implement it. The server asks on goroutines that do nothing else, and gives up after
// askMax. It treats all their errors as temporary: the peer is told "not available now: …", and may
// read again.
type distantLog interface {
	// Known returns the head as far as it is known here. It is called often and never waits. It
	// never decreases, is not less than that of Acked, and an entry whose done has run is not beyond
	// it.
	Known() uint64
}

// verifiedLog is a Log with replicas on several machines. A Log need not implement it.
type verifiedLog interface {
	// VerifyReplicas makes each machine read its replica, which may take long, and returns what they
	// found, for JSON.
	VerifyReplicas(ctx context.Context) (any, error)
}

// limitedLog is a Log that limits the size of an append. A Log need not implement it.
type limitedLog interface {
	// MaxAppend returns how many bytes the entries of one append may take, with the newline after
	// each. It does not change.
	MaxAppend() int
}

// hookedLog is a Log that commits in rounds and says what it is about to do next. A Log need not
// implement it.
type hookedLog interface {
	// SetHooks makes the log call, until remove is called, beforeBatch before it takes what has been
	// submitted into the next batch, including what is submitted during the call; beforeWait before
	// it waits for the disk or for something to commit; and beforeReplies before it runs the
	// completions of a batch, after which it calls beforeWait. They are called one at a time and
	// must not block. A call that is under way may go on after remove.
	SetHooks(beforeBatch, beforeWait, beforeReplies func()) (remove func())
}

// copiedLog is a Log that can have replicas. A Log need not implement it: then none are served.
type copiedLog interface {
	// Store returns the log's id, 32 hexadecimal digits.
	Store() string
	// Epochs returns the epochs of the log, oldest first; there is at least one.
	Epochs() []appends.Epoch
	// Fence makes the log refuse appends from now on, also after a restart, because a replica,
	// described by by, is in an epoch that this log does not know: it was promoted. The fence is on
	// disk when Fence returns nil. Its error is what the replica is told.
	Fence(epoch uint64, by string) error
	// Digest returns the digest of the entries from..through, none of them beyond the head. Its
	// error names the range.
	Digest(ctx context.Context, from, through uint64) (appends.Digest, error)
}

// heldLog is a Log that holds appends back until replicas have them too. A Log need not implement
// it.
type heldLog interface {
	// Local is Acked for replicas: it includes what is held back.
	Local() (head uint64, moved <-chan struct{})
	// Join adds a replica with that name. durable notes that it has everything through index on
	// disk, and leave that it is gone. Neither they nor Join block. Replicas with the same name
	// count as one.
	Join(name string) (durable func(index uint64), leave func())
}
