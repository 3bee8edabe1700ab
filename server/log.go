package server

import (
	"context"

	"tcp-log-server/appends"
)

// Log is what a server needs of an append-only log; engine.Log is the local one. Entries
// go in and come out as runs: canonical JSON, each entry followed by a newline. All
// methods may be called from any goroutine.
//
// Its types are built in or from package appends, so that an implementation need not
// import this package.
type Log interface {
	// Append gives count entries to the log. It waits for no other call, but may take the
	// time of one sync, and done may have run when it returns. The bytes belong to the log
	// until done has run. Calls take effect in their order, and the entries of one call
	// stay together, all of them or none. on says whether they are stored.
	//
	// done runs once, in the order of the calls, and must not block. If err is nil, the
	// entries are durable where the result says. Otherwise its text goes to the client: it
	// must say whether the entries are "not stored" and may be sent again, or whether the
	// outcome is unknown. An *appends.ConditionError says that on was not met. With
	// appends.Once an entry whose Place has an index has it whatever the error.
	Append(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))

	// Submit is Append for a caller that must not wait: done runs later.
	Submit(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))

	// AwaitOnce waits until the log can tell of any entry whether it holds it already,
	// which appends with appends.Once need. If ctx is done, it does not wait.
	AwaitOnce(ctx context.Context) error

	// Head returns the index of the last durable entry, 0 in an empty log. An entry whose
	// done has run is not beyond any later Head.
	Head(ctx context.Context) (uint64, error)

	// Acked returns the head as followers may see it: done has run for every append through
	// it. moved is closed once there is a later one.
	Acked() (head uint64, moved <-chan struct{})

	// Read passes the entries from..through, none of them beyond the head, to fn in order
	// and in runs of any length. The bytes are valid during the call only. If err is not
	// nil, the count entries from first on cannot be read; if it has a method Lost() bool that
	// returns true, they are lost for good. Read ends early with fn's error or ctx's. The
	// entries were stored at time, in µs since 1970 UTC, 0 where that is not known.
	Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error

	// Since returns the index of the first entry that was stored at time or later, in µs
	// since 1970 UTC: that after the head if there is none.
	Since(ctx context.Context, time int64) (index uint64, err error)
}

// nearLog is a Log whose first entries may be far away, where a Read of them waits for an answer
// from another machine. A Log need not be one.
type nearLog interface {
	// Near returns the first index from which on all entries are here: 1 if they all are. It
	// is called often, and waits for nothing.
	Near() uint64
}

// distantLog is a Log of which Head and Since ask other machines: they may take seconds, and fail. A
// Log need not be one. The server asks on goroutines that have nothing else to do, and gives up after
// askMax. It takes any error of theirs to pass: the peer is told "not available now: …", and may read
// again.
type distantLog interface {
	// Known returns the head as far as it is known here. It is called often, and waits for nothing.
	// It never decreases, it is not less than that of Acked, and an entry whose done has run is not
	// beyond it.
	Known() uint64
}

// verifiedLog is a Log of which several machines have a replica each. A Log need not be one.
type verifiedLog interface {
	// VerifyReplicas has each machine read its replica, which may take long, and returns what they
	// found, for JSON.
	VerifyReplicas(ctx context.Context) (any, error)
}

// limitedLog is a Log that refuses an append of more than so many bytes. A Log need not be one.
type limitedLog interface {
	// MaxAppend returns how many bytes the entries of one append may take, with the newline after
	// each. It does not change.
	MaxAppend() int
}

// hookedLog is a Log that commits in rounds and says what it is about to do next. A Log
// need not be one.
type hookedLog interface {
	// SetHooks has the log call, until remove is called, beforeBatch before it takes what
	// has been submitted into the next batch, including what is submitted during the call;
	// beforeWait before it waits, for the disk or for something to commit; beforeReplies
	// before it runs the completions of a batch, which a beforeWait follows. They are
	// called one at a time and must not block. A call that is under way may go on after
	// remove.
	SetHooks(beforeBatch, beforeWait, beforeReplies func()) (remove func())
}

// copiedLog is a Log of which there can be replicas. A Log need not be one: then none are
// served.
type copiedLog interface {
	// Store returns the log's id, 32 hexadecimal digits.
	Store() string
	// Epochs returns the epochs of the log, the oldest first: at least one.
	Epochs() []appends.Epoch
	// Fence has the log refuse appends from now on, also after a restart, because a replica,
	// of which by says who it is, is in an epoch that this log does not know: it was promoted.
	// That is on disk when Fence returns nil. Its error is what the replica is told.
	Fence(epoch uint64, by string) error
	// Digest returns the digest of the entries from..through, none of them beyond the head. Its
	// error names the range.
	Digest(ctx context.Context, from, through uint64) (appends.Digest, error)
}

// heldLog is a Log that holds appends back until replicas have them too. A Log need not be one.
type heldLog interface {
	// Local is Acked for replicas: it includes what is held back.
	Local() (head uint64, moved <-chan struct{})
	// Join adds a replica with that name. durable notes that it has everything through index
	// on disk, and leave that it is gone. None of them blocks. Replicas with one name are one.
	Join(name string) (durable func(index uint64), leave func())
}
