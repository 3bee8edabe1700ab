package replica

import (
	"context"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// Log is the log that a replica stores into: an engine.Log.
type Log interface {
	// Store returns the ID of the store in hexadecimal.
	Store() string
	// Head returns the index of the last durable entry.
	Head(ctx context.Context) (uint64, error)
	// Replicate stores the batches, the first of which begins at index first, directly after the
	// head. It returns once they are durable. After an error, the head tells which were stored.
	Replicate(first uint64, batches []engine.ReplicaBatch) error
	// Digest returns the digests of the hashes and the times of from..through.
	Digest(ctx context.Context, from, through uint64) (appends.Digest, error)
	// Epochs returns the epochs that the log knows, oldest first.
	Epochs() []appends.Epoch
	// SourceEpoch durably records the number of the source's epoch, so that a promotion begins a
	// later one even if the log has not reached it.
	SourceEpoch(number uint64) error
	// SetEpochs durably records that the log has these epochs, which begin with its own. It ends a
	// fence by one of them.
	SetEpochs(epochs []appends.Epoch) error
	// Fenced returns the epoch that fences the log, 0 if it is not fenced.
	Fenced() (epoch uint64, by string)
}
