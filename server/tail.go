package server

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/canonical"
)

// tailBlock is roughly how many bytes of lines a block of the tail cache holds.
const tailBlock = 128 << 10

// tail is the cache of the newest wire lines, shared by all followers: an entry is read and
// encoded once, however many there are. It fills as followers ask, so a log without followers
// costs nothing.
type tail struct {
	log      Log
	failures *failures
	max      int // bytes

	hits, misses atomic.Uint64 // of followers that asked for a block
	held         atomic.Int64  // size, for callers that must not wait for mu
	damaged      atomic.Uint64 // entries that could not be read

	mu        sync.Mutex
	followers int
	blocks    []*block // contiguous
	size      int
}

// block is a range of lines. It does not change once others can see it.
type block struct {
	first, last uint64
	lines       []byte
	times       []runTime // in order, the first from first on
	damaged     uint64    // entries in it that could not be read
}

// runTime is when the entries from index first on, up to the next runTime, were stored, in µs
// since 1970 UTC.
type runTime struct {
	first uint64
	time  int64
}

// size returns how many bytes of the cache the block takes.
func (b *block) size() int { return len(b.lines) + 16*len(b.times) }

// join adds a follower.
func (t *tail) join() {
	t.mu.Lock()
	t.followers++
	t.mu.Unlock()
}

// leave removes a follower; when the last one leaves, the cache is cleared.
func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followers--
	if t.followers == 0 {
		t.blocks, t.size = nil, 0
		t.held.Store(0)
	}
}

// lines returns the lines from index next through last, which is at least next and at most
// head, and the times of their entries. They stay valid and must not be changed. Lines older
// than the cache are read for this caller alone.
func (t *tail) lines(ctx context.Context, next, head uint64) (lines []byte, times []runTime, last uint64, err error) {
	b, err := t.block(ctx, next, head)
	if err != nil {
		return nil, nil, 0, err
	}
	lines = b.lines
	for first := b.first; first < next; first++ {
		_, lines = cutLine(lines)
	}
	return lines, b.times, b.last, nil
}

// block returns a block that contains next.
func (t *tail) block(ctx context.Context, next, head uint64) (*block, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.blocks); n == 0 || next > t.blocks[n-1].last+1 {
		t.blocks, t.size = nil, 0 // there is a gap before next
	} else if next < t.blocks[0].first {
		// Far behind: others need not wait for this read.
		t.mu.Unlock()
		defer t.mu.Lock()
		return t.read(ctx, next, head)
	} else if next <= t.blocks[n-1].last {
		i := sort.Search(n, func(i int) bool { return t.blocks[i].last >= next })
		t.hits.Add(1)
		return t.blocks[i], nil
	}
	b, err := t.read(ctx, next, head)
	if err != nil {
		return nil, err
	}
	t.blocks = append(t.blocks, b)
	t.size += b.size()
	for t.size > t.max && len(t.blocks) > 1 {
		t.size -= t.blocks[0].size()
		t.blocks[0] = nil
		t.blocks = t.blocks[1:]
	}
	t.held.Store(int64(t.size))
	return b, nil
}

// read reads a block that the cache does not have.
func (t *tail) read(ctx context.Context, next, head uint64) (*block, error) {
	t.misses.Add(1)
	b, err := readBlock(ctx, t.log, t.failures, next, head)
	if err == nil && b.damaged > 0 {
		t.damaged.Add(b.damaged)
	}
	return b, err
}

// errEnough ends a read that has filled its block.
var errEnough = errors.New("enough")

// readBlock reads and encodes a block from next on, at most up to head.
func readBlock(ctx context.Context, log Log, failures *failures, next, head uint64) (*block, error) {
	b := &block{first: next, last: next - 1}
	err := log.Read(ctx, next, head, func(first uint64, count int, entries []byte, time int64, err error) error {
		if b.lines == nil {
			b.lines = make([]byte, 0, len(entries)+count*40)
		}
		b.lines, _, _ = appendRun(b.lines, first, count, entries, failures.forPeer(err), math.MaxInt)
		if n := len(b.times); n == 0 || b.times[n-1].time != time {
			b.times = append(b.times, runTime{first, time})
		}
		b.last = first + uint64(count) - 1
		if err != nil {
			b.damaged += uint64(count)
		}
		if len(b.lines) >= tailBlock {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if b.last < next {
		return nil, errors.New("the log read nothing below its head")
	}
	return b, nil
}

// appendRun appends the wire lines of a run that a Log has read, count entries from index
// first on:
//
//	{"index":N,"entry":…}
//
// or {"index":N,"error":"…"} if err says that they cannot be read. It stops when dst has
// limit bytes or more, and returns how many lines it has appended, at least one, and the
// remaining entries.
func appendRun(dst []byte, first uint64, count int, entries []byte, err error, limit int) (out []byte, n int, rest []byte) {
	var digits [20]byte
	for n < count && (n == 0 || len(dst) < limit) {
		dst = append(dst, `{"index":`...)
		dst = append(dst, strconv.AppendUint(digits[:0], first+uint64(n), 10)...)
		n++
		if err != nil {
			dst = appendError(dst, err.Error())
			continue
		}
		end := bytes.IndexByte(entries, '\n')
		if end < 0 {
			end = len(entries)
		}
		dst = append(dst, `,"entry":`...)
		dst = append(dst, entries[:end]...)
		dst = append(dst, "}\n"...)
		entries = entries[min(end+1, len(entries)):]
	}
	return dst, n, entries
}

// appendString appends s as a JSON string, in its canonical form.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err == nil {
		dst, _, err = canonical.Append(dst, b)
	}
	if err != nil {
		return append(dst, `""`...)
	}
	return dst
}

// appendHash appends a hash as a JSON string.
func appendHash(dst, hash []byte) []byte {
	return append(hex.AppendEncode(append(dst, '"'), hash), '"')
}

// appendTime appends a time in µs since 1970 UTC as JSON text, null for one that is not known.
func appendTime(dst []byte, at int64) []byte {
	if at == 0 {
		return append(dst, "null"...)
	}
	return time.UnixMicro(at).UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`)
}

// cutLine splits b after its first newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], b[i+1:]
	}
	return b, nil
}

// appendError completes a line that has members already with an error and a newline.
func appendError(line []byte, text string) []byte {
	line = append(line, `,"error":`...)
	line = appendString(line, text)
	return append(line, "}\n"...)
}

// appendFault appends a line with an error for the message with the given id, which is JSON
// text, or nil if there is none.
func appendFault(dst, id []byte, text string) []byte {
	if len(id) > 0 {
		return appendError(append(append(dst, `{"id":`...), id...), text)
	}
	return append(appendString(append(dst, `{"error":`...), text), "}\n"...)
}

// directories matches the directories of absolute paths in an error. A colon or a comma ends
// the path, unless more of a name follows immediately.
var directories = regexp.MustCompile(`(^|[\s"'(=])/(?:[^/:,"\s](?:[^/:,"\n]|[:,][^/"\s])*/)+`)

// failures handles errors of the log. Peers are told which file has which error; only the
// server's own log says in which directory.
type failures struct {
	logger zerolog.Logger

	mu     sync.Mutex
	logged map[string]time.Time // by the text
}

const (
	// failureAgain is how long the same error is not logged again.
	failureAgain = time.Minute
	// failuresMax is how many different errors are logged in that time.
	failuresMax = 100
)

// forPeer returns what a peer is told of err, which may be nil, and logs err if err says
// more.
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
		f.logger.Error().Err(err).Str("event", "error").Msg("clients are told this without the directories")
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
