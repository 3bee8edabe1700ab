package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// openArchived gives the log the segments that are only in its archive, if there are or will be any.
// Without ARCHIVE the log's directory says where they are: the log cannot be read without them, and
// reading takes nothing away from a server that archives elsewhere.
func (d *daemon) openArchived(ctx context.Context, config *engine.Config) error {
	if d.config.Data == engine.Memory {
		return nil
	}
	note, err := segment.ReadArchived(d.config.Data)
	if err != nil {
		return nil // opening the log says so
	}
	url := d.config.Archive
	if url == "" && note.URL != "" && note.Through == 0 {
		d.logger.Warn().Str("event", "archive").Str("archive", note.URL).
			Msg("this log has an archive, and ARCHIVE is not set, so nothing more goes there")
	}
	if note.Through == 0 && d.config.ArchiveKeepLocal == 0 {
		return nil
	}
	if url == "" {
		url = note.URL
		d.logger.Warn().Str("event", "archive").Str("archive", url).Uint64("through", note.Through).
			Msg("entries have been removed here and are read from the archive; ARCHIVE is not set, so nothing more goes there")
	}
	b, err := bucket.Open(ctx, url, bucket.Options{OnRetry: func(err error, wait time.Duration) {
		d.logger.Warn().Err(err).Str("event", "archive").Stringer("wait", wait).Msg("a request to the archive has failed and is made again")
	}})
	switch {
	case errors.Is(err, bucket.ErrNoBucket):
		return fmt.Errorf("entries of this log through %d are in its archive: %w: mount it, or set ARCHIVE to where it is now", note.Through, err)
	case err != nil:
		return fmt.Errorf("the archive of this log: %w", err)
	}
	d.far = archived.New(archived.Config{
		Bucket: b, Cache: filepath.Join(d.config.Data, archived.CacheName), CacheSize: d.config.ArchiveCache, Logger: d.logger,
	})
	config.Archive, config.KeepLocal = d.far, d.config.ArchiveKeepLocal
	return nil
}

// closeArchived ends reading from the archive. The log is closed.
func (d *daemon) closeArchived() error {
	if d.far == nil {
		return nil
	}
	return d.far.Close()
}

// Archived says which entries no longer have segments here because the archive has them, and counts how
// they have been read since the start.
type Archived struct {
	URL     string `json:"url"`
	Through uint64 `json:"through"` // the last of them
	Removed uint64 `json:"removed"` // segments removed since the start
	// Hits and Misses count the blocks that reads found, and did not find, in the cache on disk. Fetched
	// is the number of bytes that came from the archive, and Cached the number in the cache.
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
	Fetched int64  `json:"fetched"`
	Cached  int64  `json:"cached"`
}

func archivedStat(far *archived.Archive, l engine.Stats) *Archived {
	s := far.Stats()
	return &Archived{
		URL: far.String(), Through: l.Archived, Removed: l.Evicted,
		Hits: s.Hits, Misses: s.Misses, Fetched: s.Fetched, Cached: s.Cached,
	}
}
