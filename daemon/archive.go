package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// newKeeper makes the keeper of the archive, which starts once the log is open.
func (d *daemon) newKeeper(ctx context.Context, blobs engine.BlobStore) error {
	var keeper *archive.Keeper
	b, err := bucket.Open(ctx, d.config.Archive, bucket.Options{
		Rate:    d.config.ArchiveRate,
		OnRetry: func(err error, wait time.Duration) { keeper.Retrying(err, wait) },
	})
	if errors.Is(err, bucket.ErrNoBucket) {
		return fmt.Errorf("ARCHIVE: %w: make it, mount it, or name another", err)
	}
	if err != nil {
		return fmt.Errorf("ARCHIVE: %w", err)
	}
	keeper = archive.New(archive.Config{
		Bucket: b, Dirs: segment.Dirs{Data: d.config.Data, WAL: d.config.WAL, Blobs: d.config.Blobs, BlobStore: blobs},
		Every: d.config.ArchiveEvery, TakeOver: d.config.ArchiveTakeOver, Logger: d.logger,
	})
	d.keeper = keeper
	return nil
}

// Archive is the state of the log's archive. Entries through Through are there.
type Archive struct {
	URL      string `json:"url"`
	Through  uint64 `json:"through"`
	Behind   Behind `json:"behind"`
	Uploaded int64  `json:"uploaded"` // bytes, since the start
	// Error is why archiving fails, and Since when that began, RFC 3339; both are empty while it works.
	// Stopped says that it is not retried before a restart.
	Error   string `json:"error,omitempty"`
	Since   string `json:"since,omitempty"`
	Stopped bool   `json:"stopped,omitempty"`
}

// Behind is how much of the log a copy lacks.
type Behind struct {
	Entries uint64  `json:"entries"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // at most, since the first of them was stored
}

func archiveStat(s archive.Stats) *Archive {
	a := &Archive{
		URL: s.URL, Through: s.Through, Uploaded: s.Uploaded, Error: s.Error, Stopped: s.Stopped,
		Behind: Behind{Entries: s.Entries, Bytes: s.Bytes, Seconds: math.Round(s.Seconds*10) / 10},
	}
	if !s.Since.IsZero() {
		a.Since = s.Since.UTC().Format(time.RFC3339)
	}
	return a
}
