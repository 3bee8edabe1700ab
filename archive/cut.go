package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"tcp-log-server/segment"
)

// cut truncates the segment p in the file at path after the entry r.head, which makes it an open
// segment. It returns the new part.
func (r *restore) cut(p part, path string) (part, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return p, err
	}
	defer f.Close()
	found := errors.New("found")
	var at int64
	var last segment.BatchHeader // with as much of the body as stays
	var body []byte
	end := p.size
	if p.sealed() {
		footer, err := fileFooter(f, p)
		if err != nil {
			return p, r.wrong(p, p.size, err)
		}
		end = int64(footer.Table)
	}
	scan, err := segment.ScanBatches(f, r.a.path(p.key()), end, func(off int64, h segment.BatchHeader, entries []byte) error {
		if h.Last() < r.head {
			return nil
		}
		at, last, body = off, h, nil
		if !h.Lost() {
			for range r.head - h.First + 1 {
				n := bytes.IndexByte(entries[len(body):], '\n')
				if n < 0 {
					return fmt.Errorf("%w: batch has fewer entries than its header says", ErrDamaged)
				}
				body = entries[:len(body)+n+1]
			}
			body = bytes.Clone(body)
		}
		last.Count = uint32(r.head - h.First + 1)
		return found
	})
	switch {
	case err == nil:
		return p, r.wrong(p, scan.End, fmt.Errorf("%w: the batches end before index %d", ErrDamaged, r.head))
	case err != found && damaged(err):
		return p, r.wrong(p, scan.End, err)
	case err != found:
		return p, err
	}
	text := segment.AppendBatch(nil, &last, body)
	if _, err = f.WriteAt(text, at); err == nil {
		err = f.Truncate(at + int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	size := at + int64(len(text))
	return part{first: p.first, last: r.head, size: size, sum: last.Sum, known: true,
		increments: []Increment{{First: p.first, End: size, Last: r.head, Sum: last.Sum}}}, err
}

// wrong adds to err which object is damaged: the one with the byte at offset of the segment p.
func (r *restore) wrong(p part, offset int64, err error) error {
	if d := (*segment.DamageError)(nil); errors.As(err, &d) {
		d.Path = r.a.path(p.keyAt(d.Offset))
	} else {
		err = fmt.Errorf("%s: %w", r.a.path(p.keyAt(offset)), err)
	}
	return fmt.Errorf("%w; `tcp-log-server fsck %s` says more", err, r.a.b)
}

// fileFooter reads the footer of a sealed segment from a file.
func fileFooter(f *os.File, p part) (footer segment.Footer, err error) {
	b := make([]byte, segment.FooterSize)
	if _, err := f.ReadAt(b, max(p.size-segment.FooterSize, 0)); err != nil {
		return footer, err
	}
	footer, ok, err := segment.ParseFooter(b, p.size)
	if err == nil && !ok {
		err = fmt.Errorf("%w: it does not end with a footer", ErrDamaged)
	}
	return footer, err
}

// cutEpoch returns the content of EPOCH without the epochs that begin after the entry head.
func cutEpoch(text []byte, head uint64) (kept []byte) {
	for line := range strings.Lines(string(text)) {
		var epoch, first uint64
		if n, err := fmt.Sscan(line, &epoch, &first); err == nil && n == 2 && first > head+1 {
			continue
		}
		kept = append(kept, line...)
	}
	return kept
}

// counter adds up the progress of several goroutines.
type counter struct {
	mu          sync.Mutex
	done, total int64
	progress    func(done, total int64)
}

func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	c.progress(c.done, c.total)
}
