package server

import (
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// directories matches the directories of absolute paths in an error.
var directories = regexp.MustCompile(`(^|[\s"'(=])/(?:[^/:,"\s][^/:,"\n]*/)+`)

// failures are errors of the log. Peers are told what is wrong with which file; only the
// server's own log says where that is.
type failures struct {
	logger zerolog.Logger

	mu     sync.Mutex
	logged map[string]time.Time // by the text
}

const (
	// failureAgain is after what time the same error is logged again.
	failureAgain = time.Minute
	// failuresMax is how many different errors are logged in that time.
	failuresMax = 100
)

// forPeer returns what a peer is told of err, which may be nil, and logs err if it says more.
func (f *failures) forPeer(err error) error {
	if err == nil {
		return nil
	}
	full := err.Error()
	text := directories.ReplaceAllString(full, "$1")
	if text == full {
		return err
	}
	if f.isNew(full, time.Now()) {
		f.logger.Error().Err(err).Str("event", "failed").Msg("clients are told this without the directories")
	}
	return errors.New(text)
}

// isNew reports whether the error is to be logged.
func (f *failures) isNew(text string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for old, at := range f.logged {
		if now.Sub(at) > failureAgain {
			delete(f.logged, old)
		}
	}
	if _, ok := f.logged[text]; ok || len(f.logged) >= failuresMax {
		return false
	}
	if f.logged == nil {
		f.logged = make(map[string]time.Time)
	}
	f.logged[text] = now
	return true
}
