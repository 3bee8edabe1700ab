package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/zeebo/blake3"

	"tcp-log-server/client"
	"tcp-log-server/daemon"
	"tcp-log-server/internal/legacy"
)

const (
	// aloneFrom is the size in bytes from which an entry is sent alone: the server may refuse one for
	// its size, and entries that were sent after it would be stored one index too low.
	aloneFrom = 64 << 10
	// runLength is how many entries share one checksum until they have been read back.
	runLength = 1024
)

// importer imports one log.
type importer struct {
	source       legacyLog
	placeholders bool // stored in place of refused entries
	progress     *progress
	total        int64     // entries in the source, -1 if that is not known
	refusals     io.Writer // lists the refused entries

	read         uint64 // entries that the source has
	found        uint64 // entries that the target had
	stored       uint64 // entries that the target has
	refused      uint64
	firstRefused uint64
	kept         uint64 // placeholders among the target's entries

	sums  *checksums // of the entries sent
	limit int        // entries of at least that many bytes are sent alone

	sent   sync.WaitGroup // appends that have not been answered
	mu     sync.Mutex
	failed error // of an append
	acked  uint64
}

// check reads the source and lists the entries that would be refused.
func (i *importer) check(ctx context.Context) error {
	for e, err := range i.source.Read(ctx, 1) {
		if err != nil {
			return err
		}
		i.read = e.Index
		i.step("check", e.Index)
		if _, err := e.Canonical(nil); err != nil {
			if err := i.refuse(e, err, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// step shows that a phase has reached an index.
func (i *importer) step(phase string, index uint64) {
	i.progress.show(phase, int64(index), i.total, "entries")
}

// refuse lists a refused entry. kept says that a placeholder stands for it.
func (i *importer) refuse(e legacy.Entry, why error, kept bool) error {
	i.refused++
	if i.firstRefused == 0 {
		i.firstRefused = e.Index
	}
	if kept {
		i.kept++
	}
	i.progress.clear()
	text, err := json.Marshal(why.Error())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(i.refusals, "{\"index\":%d,\"error\":%s,\"placeholder\":%t}\n", e.Index, text, kept)
	return err
}

// run imports into the log of c's server.
func (i *importer) run(ctx context.Context, c *client.Client) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	// Otherwise the import would wait for appends in flight when ctx ends.
	defer context.AfterFunc(ctx, func() { c.Close() })()
	i.found, i.stored, i.acked = head, head, head
	i.limit = aloneFrom
	if text, err := c.Stat(ctx); err == nil {
		var s daemon.Stat
		if json.Unmarshal(text, &s) == nil {
			if n, ok := s.Settings["max-entry"].(float64); ok {
				i.limit = min(i.limit, int(n))
			}
		}
	}
	i.sums = newChecksums(head)
	there, stop := iter.Pull2(c.Read(ctx, 1, head))
	defer stop()
	stopped := false
	for e, err := range i.source.Read(ctx, 1) {
		if err != nil {
			return i.settle(ctx, c, err)
		}
		i.read = e.Index
		switch {
		case stopped:
			_, err := e.Canonical(nil)
			if err != nil {
				err = i.refuse(e, err, false)
			}
			if err != nil {
				return i.settle(ctx, c, err)
			}
			i.step("list", e.Index)
		case e.Index <= head:
			if err := i.compare(e, there); err != nil {
				return err
			}
			i.step("compare", e.Index)
		default:
			goOn, err := i.store(ctx, c, e)
			if err != nil {
				return i.settle(ctx, c, err)
			}
			stopped = !goOn
			i.step("import", e.Index)
		}
	}
	if i.read < head {
		return fmt.Errorf("the source has %d entries, but the log to import into already has %d: is it the right one?", i.read, head)
	}
	return i.settle(ctx, c, nil)
}

// compare checks an entry that the target already has.
func (i *importer) compare(e legacy.Entry, there func() (client.Entry, error, bool)) error {
	got, err, ok := there()
	if !ok {
		return fmt.Errorf("the log to import into ended before index %d", e.Index)
	}
	if err != nil {
		return fmt.Errorf("the log to import into, index %d: %w", e.Index, err)
	}
	want, why := e.Canonical(nil)
	if why == nil && bytes.Equal(got.Value, want) {
		return nil
	}
	if e.StoodFor(got.Value) {
		if why == nil {
			why = errors.New("refused by the server when it was imported")
		}
		return i.refuse(e, why, true)
	}
	return fmt.Errorf("the log to import into has another entry at index %d: import into an empty log, or into one that an earlier import of this source has begun", e.Index)
}

// store sends one entry, or a placeholder for it. It returns false to stop before it.
func (i *importer) store(ctx context.Context, c *client.Client, e legacy.Entry) (goOn bool, err error) {
	form, why := e.Canonical(nil)
	if why == nil && len(form) >= i.limit {
		why, err = i.storeAlone(ctx, c, e.Index, form)
		if err != nil || why == nil {
			return true, err
		}
	} else if why == nil {
		return true, i.send(ctx, c, e.Index, form)
	}
	if !i.placeholders {
		return false, i.refuse(e, why, false)
	}
	if form, err = e.Placeholder(why); err != nil {
		return false, err
	}
	if err := i.refuse(e, why, true); err != nil {
		return false, err
	}
	if len(form) < i.limit {
		return true, i.send(ctx, c, e.Index, form)
	}
	if why, err := i.storeAlone(ctx, c, e.Index, form); why == nil || err != nil {
		return true, err
	}
	// Even its text is too long.
	e.Text, e.Hash, e.Err = nil, e.SHA256(), why
	if form, err = e.Placeholder(why); err != nil {
		return false, err
	}
	why, err = i.storeAlone(ctx, c, e.Index, form)
	return true, errors.Join(err, why)
}

// storeAlone appends one entry after all earlier ones are stored. If the server refuses it, why is the
// reason.
func (i *importer) storeAlone(ctx context.Context, c *client.Client, index uint64, form []byte) (why, err error) {
	if err := i.wait(ctx); err != nil {
		return nil, err
	}
	got, err := c.Append(ctx, form)
	if errors.Is(err, client.ErrRefused) {
		return err, nil
	}
	i.done(index, got, err)
	i.sums.add(form)
	return nil, i.failure()
}

// send appends one entry without waiting for its outcome.
func (i *importer) send(ctx context.Context, c *client.Client, index uint64, form []byte) error {
	if err := i.failure(); err != nil {
		return err
	}
	i.sums.add(form)
	i.sent.Add(1)
	err := c.AppendAsync(ctx, form, func(got uint64, err error) {
		i.done(index, got, err)
		i.sent.Done()
	})
	if err != nil {
		i.sent.Done()
	}
	return err
}

// done notes the outcome of the entry at index.
func (i *importer) done(index, got uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.failed != nil:
	case err != nil:
		i.failed = fmt.Errorf("index %d: %w: run it again to continue", index, err)
	case got != index:
		i.failed = fmt.Errorf("the entry of index %d was stored at %d, because another client appends, or a full disk made the server refuse one: import again into an empty log", index, got)
	default:
		i.acked = index
	}
}

func (i *importer) failure() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.failed
}

// wait waits until everything that was sent has been answered.
func (i *importer) wait(ctx context.Context) error {
	i.sent.Wait() // the client completes each append, whatever happens
	if err := i.failure(); err != nil {
		return err
	}
	return ctx.Err()
}

// settle waits for the answers and, unless the import has failed with err, reads back the stored
// entries.
func (i *importer) settle(ctx context.Context, c *client.Client, err error) error {
	werr := i.wait(ctx)
	i.mu.Lock()
	i.stored = i.acked
	i.mu.Unlock()
	if err != nil {
		return err
	}
	if werr != nil {
		return werr
	}
	if i.stored == i.found {
		return nil
	}
	got := newChecksums(i.found)
	next := i.found + 1
	for e, err := range c.Read(ctx, next, i.stored-i.found) {
		if err != nil {
			return fmt.Errorf("reading back index %d: %w", next, err)
		}
		if e.Index != next {
			return fmt.Errorf("reading back: index %d came where %d should", e.Index, next)
		}
		next++
		got.add(e.Value)
		i.step("read back", e.Index)
	}
	if next != i.stored+1 {
		return fmt.Errorf("reading back ended before index %d", next)
	}
	return i.sums.compare(got)
}

// checksums keeps one hash of every runLength entries.
type checksums struct {
	before uint64 // the index before the first
	count  uint64
	hash   *blake3.Hasher
	sums   [][32]byte
}

func newChecksums(before uint64) *checksums { return &checksums{before: before, hash: blake3.New()} }

func (c *checksums) add(form []byte) {
	// Writing to a hash cannot fail. Canonical JSON has no newlines.
	_, _ = c.hash.Write(form)
	_, _ = c.hash.Write([]byte{'\n'})
	if c.count++; c.count%runLength == 0 {
		c.sums = append(c.sums, [32]byte(c.hash.Sum(nil)))
		c.hash.Reset()
	}
}

// compare returns an error that says where the entries of d differ from those of c.
func (c *checksums) compare(d *checksums) error {
	for n := range c.sums {
		if n >= len(d.sums) || c.sums[n] != d.sums[n] {
			first := c.before + uint64(n)*runLength + 1
			return fmt.Errorf("the entries that were read back from index %d to %d are not those that were sent: run `tcp-log-server fsck` there", first, first+runLength-1)
		}
	}
	if c.count != d.count || !bytes.Equal(c.hash.Sum(nil), d.hash.Sum(nil)) {
		return fmt.Errorf("the entries that were read back from index %d on are not those that were sent: run `tcp-log-server fsck` there", c.before+c.count/runLength*runLength+1)
	}
	return nil
}
