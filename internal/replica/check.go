package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// errDiffer ends a conversation because an entry differs.
var errDiffer = errors.New("the logs differ")

// mayFollow checks that this log, which ends with head, is the beginning of the source's, as far as
// possible without reading all of it. If it is not, the error is a *stopError.
func (r *Replica) mayFollow(ctx context.Context, answer *replicating, head uint64) error {
	source := r.config.Source
	if own := r.config.Log.Store(); answer.Store != own {
		return stopf("%s has another log: its store is %s, this is a replica of %s", source, answer.Store, own)
	}
	theirs := answer.epochs()
	if err := segment.Epochs(theirs).Check(); err != nil {
		return stopf("the epochs of %s: %v", source, err)
	}
	if err := checkEpochs(source, r.config.Log.Epochs(), theirs, head); err != nil {
		return err
	}
	if head > answer.Head {
		return stopf("entries %d to %d are not in the log of %s, which ends with %d: it has lost them, or was restored from an older copy",
			answer.Head+1, head, source, answer.Head)
	}
	if err := r.differs(ctx); err != nil || head == 0 {
		return err
	}
	q, err := r.config.question(ctx)
	if err != nil {
		return err
	}
	defer q.hangUp()
	index, err := r.difference(ctx, q, head, head)
	if index > 0 {
		// It may not be the first that differs. Nothing is stored during the search.
		index, err = r.firstDifference(ctx, q, head)
	}
	if err == nil && index > 0 {
		err = r.differ(index)
	}
	return err
}

// checkEpochs checks that the epochs own, of a log that ends with head, are the first epochs of the
// source.
func checkEpochs(source string, own, theirs []appends.Epoch, head uint64) error {
	for i, e := range own {
		switch {
		case i >= len(theirs):
			return stopf("this log is in epoch %d, %s is still in epoch %d: it was left behind by a promotion, and must become a replica itself",
				own[len(own)-1].Number, source, theirs[len(theirs)-1].Number)
		case e != theirs[i]:
			return stopf("the logs differ from entry %d on: here epoch %d begins with entry %d, at %s epoch %d with entry %d",
				min(e.First, theirs[i].First), e.Number, e.First, source, theirs[i].Number, theirs[i].First)
		}
	}
	if len(theirs) > len(own) && head >= theirs[len(own)].First {
		next := theirs[len(own)]
		return stopf("entries %d to %d are not in the log of %s: epoch %d began with entry %d", next.First, head, source, next.Number, next.First)
	}
	return nil
}

// differ notes that an entry differs from the source's, which ends replication, and returns the
// error.
func (r *Replica) differ(index uint64) error {
	r.state.mu.Lock()
	r.state.differ = index
	hangUp := r.state.hangUp
	r.state.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
	return r.differError(index)
}

func (r *Replica) differError(index uint64) error {
	return stopf("entry %d here is not the entry %d of %s: the logs are equal before it; one was altered, or each continued without the other", index, index, r.config.Source)
}

// differs returns an error if an entry was found to differ and still does: nothing is stored until
// that is repaired.
func (r *Replica) differs(ctx context.Context) error {
	r.state.mu.Lock()
	index := r.state.differ
	r.state.mu.Unlock()
	if index == 0 {
		return nil
	}
	q, err := r.config.question(ctx)
	if err != nil {
		return r.differError(index)
	}
	defer q.hangUp()
	if found, err := r.difference(ctx, q, index, index); err != nil || found > 0 {
		return r.differError(index)
	}
	r.state.mu.Lock()
	r.state.differ = 0
	r.state.mu.Unlock()
	return nil
}

// question is a connection on which to ask the source for digests, one at a time.
type question struct {
	in     *stream
	write  func(b []byte) error
	hangUp func()
}

// question opens a question. It ends with ctx.
func (c *Config) question(ctx context.Context) (*question, error) {
	nc, hangUp, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	write := func(b []byte) error {
		if err := nc.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		_, err := nc.Write(b)
		return err
	}
	return &question{in: newStream(nc, answerTime, 0), write: write, hangUp: hangUp}, nil
}

// digest is the source's digests of from..through, in hexadecimal.
type digest struct{ entries, times string }

// digest asks for the source's digests of from..through.
func (q *question) digest(from, through uint64) (d digest, err error) {
	if err := q.write(fmt.Appendf(nil, `{"digest":{"from":%d,"through":%d}}`+"\n", from, through)); err != nil {
		return d, err
	}
	switch m, err := q.in.message(); {
	case err != nil:
		return d, err
	case m.Digest != nil:
		return digest{*m.Digest, m.Times}, nil
	case m.Error != nil:
		return d, fmt.Errorf("the digest of entries %d to %d: the source says: %s", from, through, *m.Error)
	}
	return d, fmt.Errorf("%w: no answer to a question for a digest", errProtocol)
}
