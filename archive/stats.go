package archive

import (
	"context"
	"errors"
	"time"
)

// Stats says how far the archive is. The bucket has every entry through Through.
type Stats struct {
	URL     string
	Through uint64 // index of the last entry in the bucket
	// Entries, Bytes and Seconds say how far the bucket is behind the log: the number of entries
	// after Through, their bytes in segments, and at most how long ago the first of them was
	// stored. While the state of the bucket is unknown, Seconds counts from the start of the
	// server.
	Entries uint64
	Bytes   int64
	Seconds float64
	// Uploaded and Objects are the numbers of bytes and objects uploaded since the start.
	Uploaded int64
	Objects  uint64
	// Error is why the last attempt failed, "" if it succeeded, and Since when the failures began.
	Error string
	Since time.Time
	// Stopped says that archiving was refused, for example because another server has the archive
	// now. It is not tried again before a restart.
	Stopped bool
}

// state is what a Keeper reports, guarded by its mutex.
type state struct {
	through  uint64
	covered  time.Time // everything stored before then is in the bucket
	uploaded int64
	objects  uint64
	err      error
	since    time.Time
	stopped  bool
}

// Stats returns the current state of the archive.
func (k *Keeper) Stats() Stats {
	if k.log == nil {
		return Stats{URL: k.Bucket.String()}
	}
	segs := k.files()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Stats{
		URL: k.Bucket.String(), Through: k.state.through, Uploaded: k.state.uploaded, Objects: k.state.objects,
		Since: k.state.since, Stopped: k.state.stopped,
	}
	if k.state.err != nil {
		s.Error = k.state.err.Error()
	}
	for _, f := range segs {
		if f.Last > s.Through && !f.Empty() {
			s.Entries = f.Last - s.Through
			s.Bytes += f.End - k.open[f.First].End
		}
	}
	if s.Entries > 0 {
		covered := k.state.covered
		if covered.IsZero() {
			covered = k.began
		}
		s.Seconds = max(time.Since(covered).Seconds(), 0)
	}
	return s
}

// Holds reports whether the bucket has all entries through last. It may be called before Start.
func (k *Keeper) Holds(last uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return last <= k.state.through && !k.state.stopped
}

func (k *Keeper) through() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.through
}

// publish notes how far the bucket is, now that it has everything stored through the time at, in µs
// since 1970 UTC; 0 is no time.
func (k *Keeper) publish(at int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	through := k.sealedEnd
	for i, ok := k.open[through+1]; ok; i, ok = k.open[through+1] {
		through = i.Last
	}
	k.state.through = max(k.state.through, through)
	if t := time.UnixMicro(at); at > 0 && t.After(k.state.covered) {
		k.state.covered = t
	}
}

// complete notes that the bucket has everything that was stored before the time began.
func (k *Keeper) complete(began time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if began.After(k.state.covered) {
		k.state.covered = began
	}
}

func (k *Keeper) uploaded(bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.uploaded += bytes
	k.state.objects++
}

// Retrying is for bucket.Options.OnRetry: it records why a request is retried.
func (k *Keeper) Retrying(err error, _ time.Duration) { k.failing(err) }

// failing records that archiving fails with err, and reports whether it was working until now.
func (k *Keeper) failing(err error) (first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if first = k.state.err == nil; first {
		k.state.since = time.Now()
		k.Logger.Error().Err(err).Str("event", "archive").Str("archive", k.Bucket.String()).
			Msg("archiving fails: entries are safe on this machine, and are uploaded once the problem is fixed")
	}
	k.state.err = err
	return first
}

// note records the result of a round, and returns it.
func (k *Keeper) note(err error) error {
	switch {
	case err == nil:
		k.mu.Lock()
		failed, since, through := k.state.err != nil, k.state.since, k.state.through
		k.state.err, k.state.since = nil, time.Time{}
		k.mu.Unlock()
		if failed {
			k.Logger.Info().Str("event", "archive").Str("archive", k.Bucket.String()).Uint64("through", through).
				Stringer("after", time.Since(since).Round(time.Second)).Msg("the archive is up to date again")
		}
	case errors.Is(err, errStopping), errors.Is(err, context.Canceled):
	case refuses(err):
		k.mu.Lock()
		k.state.err, k.state.stopped = err, true
		if k.state.since.IsZero() {
			k.state.since = time.Now()
		}
		k.mu.Unlock()
		k.Logger.Error().Err(err).Str("event", "archive").Str("archive", k.Bucket.String()).
			Msg("ARCHIVING HAS STOPPED until the server is restarted")
	default:
		k.failing(err)
	}
	return err
}
