package replicated

import (
	"context"
	"fmt"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// The log may have copies that are not replicas of the stream: a server that follows a gateway keeps one
// in a directory, with the same indices, times and name.

// Epochs returns the epochs of the log.
func (l *Log) Epochs() []appends.Epoch { return l.epochs }

// Fence refuses: a log in a cluster continues whatever its copies do. The error tells the copy so.
func (l *Log) Fence(epoch uint64, by string) error {
	epochs := l.Epochs()
	return fmt.Errorf("%s is in epoch %d of this log, so it was promoted, and is now a separate log; this one is in a cluster, which cannot be fenced, and continues in epoch %d: "+
		"stop all of the cluster's servers, or make a new replica of it in an empty directory", by, epoch, epochs[len(epochs)-1].Number)
}

// Digest reads the entries from..through and returns their digest. Errors name the range.
func (l *Log) Digest(ctx context.Context, from, through uint64) (appends.Digest, error) {
	if head := l.Known(); from < 1 || through < from || through > head {
		return appends.Digest{}, fmt.Errorf("digest of %d to %d: the log has entries 1 to %d", from, through, head)
	}
	d := appends.NewDigester()
	err := l.Read(ctx, from, through, func(first uint64, _ int, entries []byte, time int64, err error) error {
		if err != nil {
			return fmt.Errorf("entry %d: %w", first, err)
		}
		for len(entries) > 0 {
			n := lineEnd(entries)
			d.Add(blake3.Sum256(entries[:n-1]), time)
			entries = entries[n:]
		}
		return nil
	})
	if err != nil {
		return appends.Digest{}, fmt.Errorf("digest of %d to %d: %w", from, through, err)
	}
	return d.Sum(), nil
}
