package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// The codecs of this project's server over HTTP/1.1. They parse only the form of HTTP that
// net/http writes.

const httpHost = " HTTP/1.1\r\nHost: localhost\r\n"

// postAppender sends a request for each entry, on a connection that is kept open.
type postAppender struct {
	entries source
	entry   []byte
}

func (*postAppender) greeting() ([]byte, string) { return nil, "" }

func (a *postAppender) requests(dst []byte, n int, now int64) []byte {
	for range n {
		a.entry = a.entries.put(a.entry[:0], now)
		dst = append(dst, "POST /entries"+httpHost+"Content-Type: application/json\r\nContent-Length: "...)
		dst = append(strconv.AppendInt(dst, int64(len(a.entry)), 10), "\r\n\r\n"...)
		dst = append(dst, a.entry...)
	}
	return dst
}

func (a *postAppender) replies(b []byte) (used, n int, err error) {
	for {
		header, rest, whole := bytes.Cut(b[used:], []byte("\r\n\r\n"))
		if !whole {
			return used, n, nil
		}
		_, length, ok := bytes.Cut(header, []byte("\r\nContent-Length: "))
		size, digits := parseUint(length)
		if !bytes.HasPrefix(header, []byte("HTTP/1.1 201 ")) || !ok || digits == 0 {
			return used, n, unexpected("POST", b[used:])
		}
		if uint64(len(rest)) < size {
			return used, n, nil
		}
		if !bytes.HasPrefix(rest, []byte(indexHead)) {
			return used, n, unexpected("POST", rest)
		}
		used = len(b) - len(rest) + int(size)
		n++
	}
}

// linesAppender sends one request on a connection, with an endless body of one line per entry.
type linesAppender struct {
	entries source
	begun   bool
	lines   []byte
	body    bodyLines
	last    uint64 // the index of the last reply
}

func (*linesAppender) greeting() ([]byte, string) { return nil, "" }

func (a *linesAppender) requests(dst []byte, n int, now int64) []byte {
	if !a.begun {
		a.begun = true
		dst = append(dst, "POST /entries"+httpHost+"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"...)
	}
	a.lines = a.lines[:0]
	for range n {
		a.lines = append(a.entries.put(a.lines, now), '\n')
	}
	dst = append(strconv.AppendInt(dst, int64(len(a.lines)), 16), "\r\n"...)
	return append(append(dst, a.lines...), "\r\n"...)
}

// replies checks that the indices rise, since the entries of a connection keep their order.
func (a *linesAppender) replies(b []byte) (used, n int, err error) {
	used, err = a.body.take(b, func(lines []byte) (int, error) {
		taken := 0
		for {
			line, rest, whole := bytes.Cut(lines[taken:], []byte{'\n'})
			if !whole {
				return taken, nil
			}
			digits, ok := bytes.CutPrefix(line, []byte(indexHead))
			index, _ := parseUint(digits)
			if !ok || index <= a.last {
				return taken, unexpected("POST", line)
			}
			a.last = index
			taken = len(lines) - len(rest)
			n++
		}
	})
	return used, n, err
}

// httpReader reads a whole log as lines, or follows it as server-sent events.
type httpReader struct {
	plan  readPlan
	asked bool
	body  bodyLines
	lines *logReader
}

func newHTTPReader(plan readPlan) *httpReader {
	return &httpReader{plan: plan, lines: newLogReader(readPlan{}, false)}
}

func (*httpReader) greeting() ([]byte, string) { return nil, "" }

func (r *httpReader) ask(dst []byte) []byte {
	if r.asked {
		return dst
	}
	r.asked = true
	dst = append(dst, "GET /entries?from=1"+httpHost...)
	if r.plan.follow {
		dst = append(dst, "Accept: text/event-stream\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func (r *httpReader) scan(b []byte, visit func([]byte)) (used, entries int, err error) {
	scan := r.lines.scan
	if r.plan.follow {
		scan = r.events
	}
	used, err = r.body.take(b, func(lines []byte) (int, error) {
		used, n, err := scan(lines, visit)
		entries += n
		return used, err
	})
	return used, entries, err
}

// events scans the lines of events. The event of an entry begins with its index.
func (r *httpReader) events(b []byte, visit func([]byte)) (used, entries int, err error) {
	for {
		end := bytes.IndexByte(b[used:], '\n') + 1
		if end == 0 {
			return used, entries, nil
		}
		line := b[used : used+end]
		if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			want := r.lines.prefix[len(indexHead) : len(r.lines.prefix)-len(indexMid)]
			if !bytes.Equal(id[:len(id)-1], want) {
				return used, entries, fmt.Errorf("follow: got %.80q where the id should be %s", line, want)
			}
		} else if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			_, n, err := r.lines.scan(data, visit)
			entries += n
			if err != nil {
				return used, entries, err
			}
		} else if name, ok := bytes.CutPrefix(line, []byte("event: ")); line[0] != '\n' && line[0] != ':' && (!ok || string(name) != "current\n") {
			return used, entries, unexpected("follow", line)
		}
		used += end
	}
}

// bodyLines is the body of a response in chunks. A line may begin in one chunk and end in
// another.
type bodyLines struct {
	begun bool   // the header has been read
	left  int    // bytes of the chunk still to come, including the line break after it
	part  []byte // the start of a line whose end has not arrived
}

// take consumes as much of b as it can. It passes the text of the body to scan, which returns
// the length of the whole lines.
func (c *bodyLines) take(b []byte, scan func(lines []byte) (int, error)) (used int, err error) {
	for used < len(b) {
		rest := b[used:]
		switch {
		case c.left > 0:
			n := min(len(rest), c.left)
			if err := c.text(rest[:min(n, max(0, c.left-2))], scan); err != nil {
				return used, err
			}
			c.left -= n
			used += n
		case !c.begun:
			header, _, whole := bytes.Cut(rest, []byte("\r\n\r\n"))
			if !whole {
				return used, nil
			}
			if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) || !strings.Contains(string(header), "\r\nTransfer-Encoding: chunked") {
				return used, unexpected("HTTP", rest)
			}
			c.begun = true
			used += len(header) + 4
		default:
			size, _, whole := bytes.Cut(rest, []byte("\r\n"))
			if !whole {
				return used, nil
			}
			n, err := strconv.ParseUint(string(size), 16, 31)
			if err != nil {
				return used, unexpected("HTTP", rest)
			}
			c.left, c.begun = int(n)+2, n > 0
			used += len(size) + 2
		}
	}
	return used, nil
}

// text passes a part of the body to scan. Its first line may have begun in an earlier part.
func (c *bodyLines) text(b []byte, scan func(lines []byte) (int, error)) error {
	if len(c.part) > 0 {
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			c.part = append(c.part, b...)
			return nil
		}
		c.part = append(c.part, b[:n]...)
		if _, err := scan(c.part); err != nil {
			return err
		}
		c.part = c.part[:0]
		b = b[n:]
	}
	n, err := scan(b)
	c.part = append(c.part, b[n:]...)
	return err
}
