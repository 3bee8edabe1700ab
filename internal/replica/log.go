package replica

import (
	"context"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// Log is what a replica needs of the log that it stores into: engine.Log has it.
type Log interface {
	// Store returns the id of the store in hexadecimal.
	Store() string
	// Head returns the index of the last durable entry.
	Head(ctx context.Context) (uint64, error)
	// Replicate stores the batches, whose first entry has the index first, which is that after
	// the head, and returns once they are durable. If there is an error, the head tells which
	// are stored.
	Replicate(first uint64, batches []engine.ReplicaBatch) error
	// Digest returns the digests of the hashes and the times of from..through.
	Digest(ctx context.Context, from, through uint64) (appends.Digest, error)
	// Epochs returns the epochs that the log knows, oldest first.
	Epochs() []appends.Epoch
	// SourceEpoch records durably that the source is in the epoch with that number, so that a
	// promotion begins a later one, also if the log has not got there.
	SourceEpoch(number uint64) error
	// SetEpochs records durably that the log has these epochs, which begin with its own, and
	// ends a fence for one of them.
	SetEpochs(epochs []appends.Epoch) error
	// Fenced returns the epoch because of which the log is fenced, 0 if it is not.
	Fenced() (epoch uint64, by string)
}
