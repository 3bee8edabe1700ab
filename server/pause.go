package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// A replay that waits, for its peer or for its turn, is no more than a cursor: what
// was gathered for it, and what it reads from, is given up, and read again later. A
// few may keep theirs, since reading again costs more than a short wait.

const (
	// readingMax is how many replays may read at once. None of them waits for
	// anything but the disk.
	readingMax = 32
	// warmMax is how many may keep what they have gathered while they wait.
	warmMax = 256
	// readKept is about how many bytes a log keeps for a Read that waits for its
	// caller: those of one batch.
	readKept = 512 << 10
)

// startReading waits until this replay may read. The error is why the connection
// was cut.
func (o *output) startReading() error {
	select {
	case o.server.reading <- struct{}{}:
		o.mayRead = true
		return nil
	case <-o.ctx.Done():
		return context.Cause(o.ctx)
	}
}

// endReading lets another one read, if this one may.
func (o *output) endReading() {
	if o.mayRead {
		<-o.server.reading
		o.mayRead = false
	}
}

// errPause ends the reading of history until the socket takes more.
var errPause = errors.New("pause")

// begin notes that what is in out comes before the lines of the replay.
func (o *output) begin() { o.lead, o.base, o.cut = len(o.out), o.read.next, 0 }

// compact drops what has been gathered, of which n bytes were sent, but for the
// replies in it and the rest of a line that is short, and puts the cursor back.
func (o *output) compact(n int) {
	r, out := o.read, o.out
	var keep []byte
	switch lines := out[min(max(n, o.lead), len(out)):]; {
	case n < o.lead:
		keep = out[n:o.lead]
		r.next, o.skip = o.base, o.cut
	default:
		sent := out[o.lead:n]
		r.next = o.base + uint64(bytes.Count(sent, newline))
		if i := bytes.LastIndexByte(sent, '\n'); i >= 0 {
			o.skip = len(sent) - i - 1
		} else {
			o.skip = o.cut + len(sent)
		}
		if rest, _ := cutLine(lines); o.skip > 0 && len(rest) <= heldMin {
			keep = rest
			r.next++
			o.skip = 0
		}
	}
	o.out = nil
	if cap(out) >= flushAt && cap(out) <= 4*flushAt {
		o.out = append([]byte(nil), keep...)
		out = out[:0]
		buffers.Put(&out)
		return
	}
	o.out = append(o.out, keep...)
}

var newline = []byte{'\n'}

// resume cuts off the first line what has been sent of it, if any has; failed is
// why its entry cannot be read.
func (o *output) resume(failed error) error {
	if o.skip == 0 {
		return nil
	}
	line, _ := cutLine(o.out[o.lead:])
	if failed != nil || len(line) <= o.skip {
		return fmt.Errorf("%w: index %d, of which a part has been sent", errLog, o.base)
	}
	o.out = append(o.out[:o.lead], o.out[o.lead+o.skip:]...)
	o.cut, o.skip = o.skip, 0
	return nil
}

// pause waits until the socket takes more, and then for a turn.
func (o *output) pause() error {
	o.raw.SetWriteDeadline(time.Now().Add(o.server.cfg.WriteTimeout))
	if err := o.socket.waitWritable(); err != nil {
		return err
	}
	if err := o.flush(); err != nil {
		return err
	}
	return o.nextTurn()
}
