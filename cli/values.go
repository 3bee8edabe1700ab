package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"tcp-log-server/canonical"
)

// valueMax is the largest value in the input, in bytes: more than any server accepts.
const valueMax = 1 << 30

// valueReader splits its input into JSON values: one per line, a stream of values with or without white
// space between them, or the elements of one array. It skips a byte order mark at the start. It buffers
// at most 256 KiB, or twice the longest value.
type valueReader struct {
	in     io.Reader
	state  arrayState
	marked bool // the start has been checked for a byte order mark

	buf    []byte
	lo, hi int // read and not yet returned
	eof    bool
	line   int // of buf[lo], from 1
	count  int // elements of the array that have begun
}

// arrayState is what must come next.
type arrayState int

const (
	noArray    arrayState = iota // a value: the input is a stream of them
	atArray                      // '['
	atFirst                      // an element or ']'
	atElement                    // an element
	atNext                       // ',' or ']'
	afterArray                   // nothing
)

func newValueReader(in io.Reader, array bool) *valueReader {
	v := &valueReader{in: in, buf: make([]byte, 256<<10), line: 1}
	if array {
		v.state = atArray
	}
	return v
}

// valueError says that a part of the input is not a JSON value. Unless it is fatal, the values after it
// can be read.
type valueError struct {
	err   error
	fatal bool
}

func (e *valueError) Error() string { return e.err.Error() }
func (e *valueError) Unwrap() error { return e.err }

func broken(format string, args ...any) error {
	return &valueError{fmt.Errorf(format, args...), true}
}

// next returns the next value, which is valid until the next call, and its place: the line on
// which it begins, or the number of an array's element, from 1. The error belongs to that place. It
// is io.EOF at the end of the input, a *valueError, or the error of reading.
func (v *valueReader) next() (value []byte, place int, err error) {
	value, place, err = v.read()
	if v.state != noArray {
		place = max(v.count, 1)
	}
	return value, place, err
}

func (v *valueReader) read() (value []byte, line int, err error) {
	if !v.marked {
		v.marked = true
		if err := v.skipMark(); err != nil {
			return nil, v.line, err
		}
	}
	for {
		c, err := v.token()
		if errors.Is(err, io.EOF) && v.state != noArray && v.state != afterArray {
			v.count++
			err = broken("the input ends before its array does")
		}
		if err != nil {
			return nil, v.line, err
		}
		switch {
		case v.state == noArray:
			return v.value()
		case v.state == atArray && c == '[':
			v.state = atFirst
		case v.state == atFirst && c == ']', v.state == atNext && c == ']':
			v.state = afterArray
		case v.state == atNext && c == ',':
			v.state = atElement
		case v.state == atFirst, v.state == atElement:
			v.state = atNext
			v.count++
			return v.value()
		default:
			v.count++
			want := map[arrayState]string{atArray: "'[', since the input is to be one array", atNext: "',' or ']'", afterArray: "the end of the input"}
			return nil, v.line, broken("found %q, want %s", c, want[v.state])
		}
		v.drop(1)
	}
}

// skipMark skips the UTF-8 byte order mark, which some programs on Windows write first. Those of other
// encodings are an error: no JSON begins like them.
func (v *valueReader) skipMark() error {
	for {
		text := v.buf[v.lo:v.hi]
		switch {
		case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
			v.drop(3)
			return nil
		case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
			return broken("the input is UTF-16, want UTF-8: convert it, or have PowerShell write it with -Encoding utf8")
		case len(text) > 0 && !bytes.HasPrefix([]byte("\xef\xbb\xbf"), text) && !(len(text) == 1 && text[0] >= 0xfe):
			return nil
		}
		if err := v.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// token skips white space and returns the byte after it.
func (v *valueReader) token() (byte, error) {
	for {
		for i, c := range v.buf[v.lo:v.hi] {
			if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
				v.drop(i)
				return c, nil
			}
		}
		v.drop(v.hi - v.lo)
		if err := v.fill(); err != nil {
			return 0, err
		}
	}
}

// drop consumes n bytes.
func (v *valueReader) drop(n int) {
	v.line += bytes.Count(v.buf[v.lo:v.lo+n], []byte("\n"))
	v.lo += n
}

// fill reads more input.
func (v *valueReader) fill() error {
	if v.eof {
		return io.EOF
	}
	if v.lo > 0 && len(v.buf)-v.hi < len(v.buf)/4 {
		v.hi = copy(v.buf, v.buf[v.lo:v.hi])
		v.lo = 0
	}
	if v.hi == len(v.buf) {
		v.buf = append(v.buf, make([]byte, len(v.buf))...)
	}
	for {
		n, err := v.in.Read(v.buf[v.hi:])
		v.hi += n
		v.eof = errors.Is(err, io.EOF)
		switch {
		case n > 0:
			return nil
		case err != nil:
			return err
		}
	}
}

// value reads the value that begins here.
func (v *valueReader) value() ([]byte, int, error) {
	line := v.line
	var s scanner
	checked := 0 // length of the last attempt to parse
	for {
		text := v.buf[v.lo:v.hi]
		if v.eof || len(text) >= 2*checked || s.complete(text) {
			checked = len(text)
			n, err := canonical.Skip(text)
			var syntax *canonical.SyntaxError
			switch {
			case err == nil && (n < len(text) || v.eof || endsItself(text[0])):
				v.drop(n)
				return text[:n:n], line, nil
			case errors.As(err, &syntax) && !syntax.Truncated:
				return nil, line, v.pass(syntax)
			case err != nil && v.eof:
				v.drop(len(text))
				return nil, line, &valueError{err, true}
			}
		}
		if len(text) > valueMax {
			return nil, line, broken("a value of more than %d bytes", valueMax)
		}
		if err := v.fill(); err != nil && !v.eof {
			return nil, line, err
		}
	}
}

// endsItself reports whether a value that begins with first shows by its last byte that it is complete.
func endsItself(first byte) bool { return first == '{' || first == '[' || first == '"' }

// pass skips an invalid value. On a line of its own, or cut off at the end of its line, it ends with
// the line. For others nothing says where they end, and values inside them must not be mistaken for
// values of their own.
func (v *valueReader) pass(syntax *canonical.SyntaxError) error {
	text := v.buf[v.lo:v.hi]
	end := bytes.IndexByte(text, '\n')
	if v.state != noArray || end >= 0 && end < syntax.Offset && len(bytes.TrimSpace(text[end:syntax.Offset])) > 0 {
		return &valueError{syntax, true}
	}
	for end < 0 {
		v.drop(len(text))
		if err := v.fill(); err != nil {
			return &valueError{syntax, false} // the next call returns the error of reading
		}
		text = v.buf[v.lo:v.hi]
		end = bytes.IndexByte(text, '\n')
	}
	v.drop(end)
	return &valueError{syntax, false}
}

// scanner finds the end of an object or array by its brackets, as its text arrives.
type scanner struct {
	at, depth      int
	quoted, escape bool
}

// complete scans the bytes that text has gained since the last call, and reports whether the end has
// been reached. If the first byte is not a bracket, that is at once.
func (s *scanner) complete(text []byte) bool {
	for ; s.at < len(text); s.at++ {
		switch c := text[s.at]; {
		case s.escape:
			s.escape = false
		case s.quoted:
			s.escape = c == '\\'
			s.quoted = c != '"'
		case c == '"':
			s.quoted = true
		case c == '{', c == '[':
			s.depth++
		case c == '}', c == ']':
			s.depth--
		}
		if s.depth <= 0 && !s.quoted {
			return true
		}
	}
	return false
}
