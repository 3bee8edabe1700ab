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
	// carefully is the length in bytes from which on an entry is sent alone: the
	// server may refuse one for its length, and what was sent behind it would then
	// be stored one index too low.
	carefully = 64 << 10
	// proofRun is how many entries have one hash between them until they have been
	// read back.
	proofRun = 1024
)

// importing is one import.
type importing struct {
	source       legacyLog
	placeholders bool
	bar          *importBar
	list         io.Writer // of what is refused

	read         uint64 // entries that the source has
	found        uint64 // entries that the target had
	stored       uint64 // entries that the target has
	refused      uint64
	firstRefused uint64
	kept         uint64 // placeholders among the entries that the target has

	proof *prover
	limit int // in bytes, of what is sent with others

	sent   sync.WaitGroup // appends that have not been answered
	mu     sync.Mutex
	failed error // of an append
	acked  uint64
}

// check reads the source and lists what is refused.
func (i *importing) check(ctx context.Context) error {
	for e, err := range i.source.Read(ctx, 1) {
		if err != nil {
			return err
		}
		i.read = e.Index
		i.bar.step("check", e.Index)
		if _, err := e.Canonical(nil); err != nil {
			if err := i.refuse(e, err, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuse lists an entry.
func (i *importing) refuse(e legacy.Entry, why error, kept bool) error {
	i.refused++
	if i.firstRefused == 0 {
		i.firstRefused = e.Index
	}
	if kept {
		i.kept++
	}
	i.bar.clear()
	text, err := json.Marshal(why.Error())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(i.list, "{\"index\":%d,\"error\":%s,\"placeholder\":%t}\n", e.Index, text, kept)
	return err
}

// run imports into the log behind c.
func (i *importing) run(ctx context.Context, c *client.Client) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	// What is under way when ctx ends would be waited for.
	defer context.AfterFunc(ctx, func() { c.Close() })()
	i.found, i.stored, i.acked = head, head, head
	i.limit = carefully
	if text, err := c.Stat(ctx); err == nil {
		var s daemon.Stat
		if json.Unmarshal(text, &s) == nil {
			if n, ok := s.Settings["max-entry"].(float64); ok {
				i.limit = min(i.limit, int(n))
			}
		}
	}
	i.proof = newProver(head)
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
			i.bar.step("list", e.Index)
		case e.Index <= head:
			if err := i.compare(e, there); err != nil {
				return err
			}
			i.bar.step("compare", e.Index)
		default:
			goOn, err := i.store(ctx, c, e)
			if err != nil {
				return i.settle(ctx, c, err)
			}
			stopped = !goOn
			i.bar.step("import", e.Index)
		}
	}
	if i.read < head {
		return fmt.Errorf("the source has %d entries, the log to import into has %d already: is it the right one?", i.read, head)
	}
	return i.settle(ctx, c, nil)
}

// compare checks an entry that the target has.
func (i *importing) compare(e legacy.Entry, there func() (client.Entry, error, bool)) error {
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

// store sends one entry, or what stands for it. It returns false to stop there.
func (i *importing) store(ctx context.Context, c *client.Client, e legacy.Entry) (goOn bool, err error) {
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
	// Not even its text fits.
	e.Text, e.Hash, e.Err = nil, e.SHA256(), why
	if form, err = e.Placeholder(why); err != nil {
		return false, err
	}
	why, err = i.storeAlone(ctx, c, e.Index, form)
	return true, errors.Join(err, why)
}

// storeAlone appends one entry once all before it are stored. why is the server's
// refusal.
func (i *importing) storeAlone(ctx context.Context, c *client.Client, index uint64, form []byte) (why, err error) {
	if err := i.wait(ctx); err != nil {
		return nil, err
	}
	got, err := c.Append(ctx, form)
	if errors.Is(err, client.ErrRefused) {
		return err, nil
	}
	i.done(index, got, err)
	i.proof.add(form)
	return nil, i.failure()
}

// send appends one entry without waiting for what becomes of it.
func (i *importing) send(ctx context.Context, c *client.Client, index uint64, form []byte) error {
	if err := i.failure(); err != nil {
		return err
	}
	i.proof.add(form)
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

// done takes note of what has become of the entry of index.
func (i *importing) done(index, got uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.failed != nil:
	case err != nil:
		i.failed = fmt.Errorf("index %d: %w: run it again to go on", index, err)
	case got != index:
		i.failed = fmt.Errorf("the entry of index %d has been stored at %d, since somebody else appends or a full disk had one refused: import again into an empty log", index, got)
	default:
		i.acked = index
	}
}

func (i *importing) failure() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.failed
}

// wait waits until all that was sent has been answered.
func (i *importing) wait(ctx context.Context) error {
	i.sent.Wait() // the client answers each, whatever happens
	if err := i.failure(); err != nil {
		return err
	}
	return ctx.Err()
}

// settle ends an import that err has ended, or nothing: it waits for the answers
// and reads back what was stored.
func (i *importing) settle(ctx context.Context, c *client.Client, err error) error {
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
	again := newProver(i.found)
	next := i.found + 1
	for e, err := range c.Read(ctx, next, i.stored-i.found) {
		if err != nil {
			return fmt.Errorf("reading back index %d: %w", next, err)
		}
		if e.Index != next {
			return fmt.Errorf("reading back: index %d came where %d should", e.Index, next)
		}
		next++
		again.add(e.Value)
		i.bar.step("read back", e.Index)
	}
	if next != i.stored+1 {
		return fmt.Errorf("reading back ended before index %d", next)
	}
	return i.proof.compare(again)
}

// prover keeps one hash of every proofRun entries.
type prover struct {
	before uint64 // the index before the first
	count  uint64
	hash   *blake3.Hasher
	sums   [][32]byte
}

func newProver(before uint64) *prover { return &prover{before: before, hash: blake3.New()} }

func (p *prover) add(form []byte) {
	// A hash takes what it is given; there are no newlines in canonical JSON.
	_, _ = p.hash.Write(form)
	_, _ = p.hash.Write([]byte{'\n'})
	if p.count++; p.count%proofRun == 0 {
		p.sums = append(p.sums, [32]byte(p.hash.Sum(nil)))
		p.hash.Reset()
	}
}

// compare says where two proofs differ.
func (p *prover) compare(q *prover) error {
	for n := range p.sums {
		if n >= len(q.sums) || p.sums[n] != q.sums[n] {
			first := p.before + uint64(n)*proofRun + 1
			return fmt.Errorf("what was read back from index %d to %d is not what was sent: run `tcp-log-server fsck` there", first, first+proofRun-1)
		}
	}
	if p.count != q.count || !bytes.Equal(p.hash.Sum(nil), q.hash.Sum(nil)) {
		return fmt.Errorf("what was read back from index %d on is not what was sent: run `tcp-log-server fsck` there", p.before+p.count/proofRun*proofRun+1)
	}
	return nil
}
