// Package where finds the entries of a log that contain a given JSON object, the filter.
//
// An entry contains the filter if it is an object that has each member of the filter. If a member
// of the filter is an object, the member of the entry must be an object that contains it in the
// same sense. Arrays, strings, numbers and literals must be equal in canonical form (package
// canonical): 1.0 equals 1, and "\u0041" equals "A". So every object contains {}, every entry whose
// a is an object contains {"a":{}}, and an entry that is an array or null contains no filter.
//
// # How it works
//
// Both the filter and the entries are canonical, which allows two shortcuts.
//
// A member whose value is not an object has the same bytes in the filter and in each entry that
// contains it: "user":"ann". [Filter.Next] searches whole runs of entries for one such needle, and
// checks only the lines that have it.
//
// Members are sorted, so one pass over both texts decides whether an entry contains the filter,
// skipping members that only the entry has. [Filter.Match] parses neither text and remembers only a
// position in each. Its time is linear in the length of the entry, whatever the filter.
//
// # Numbers that a double does not hold
//
// Numbers are compared by value. Earlier versions of the log stored a number that a double does not
// hold (1E400, 9007199254740993.0) as it was written, so in their entries the bytes of equal
// numbers may differ. A filter with such a number, even inside an array, does not use that member
// as its needle, and converts the entry's value to canonical form if the bytes differ. It is
// slower, and may allocate.
package where

import (
	"bytes"
	"errors"
	"fmt"

	"tcp-log-server/canonical"
)

// A Filter is a compiled filter object. It may be used concurrently.
type Filter struct {
	form   []byte // the object in canonical form
	needle []byte // is in every entry that contains the object; empty for {}
	loose  bool   // form has numbers that earlier versions may have stored in other notations
}

// Compile returns the filter for a JSON object, which may have white space around it. Its errors
// are worded for the member "where" of a message.
func Compile(object []byte) (*Filter, error) {
	form, err := canonicalObject(object)
	if err != nil {
		return nil, fmt.Errorf(`"where" %w`, err)
	}
	f := &Filter{form: form}
	f.choose()
	return f, nil
}

// canonicalObject returns the canonical form of the one JSON object in text. Its errors need a
// subject in front: "is an array, want an object".
func canonicalObject(text []byte) ([]byte, error) {
	start := len(text) - len(bytes.TrimLeft(text, " \t\r\n"))
	form, n, err := canonical.Append(nil, text[start:])
	var syntax *canonical.SyntaxError
	var refused *canonical.RefusedError
	switch {
	case errors.As(err, &syntax):
		syntax.Offset += start
		return nil, fmt.Errorf("is %w", syntax)
	case errors.As(err, &refused) && refused.Kind == canonical.ErrDuplicateMember:
		return nil, fmt.Errorf("has %w %q, at byte %d", refused.Kind, refused.Name, start+refused.Offset)
	case errors.As(err, &refused):
		return nil, fmt.Errorf("has %w, at byte %d", refused.Kind, start+refused.Offset)
	case err != nil:
		return nil, err
	}
	if form[0] != '{' {
		return nil, fmt.Errorf("is %s, want an object", kind(form[0]))
	}
	if rest := bytes.TrimLeft(text[start+n:], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("is not one object: unexpected data after it, at byte %d", len(text)-len(rest))
	}
	return form, nil
}

// kind names a JSON value that is not an object by its first byte.
func kind(first byte) string {
	switch first {
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't':
		return "true"
	case 'f':
		return "false"
	case 'n':
		return "null"
	}
	return "a number"
}

// Size returns the approximate memory of the filter in bytes.
func (f *Filter) Size() int { return len(f.form) }

// Next returns the first line of run that matches, without its newline, and the rest after that
// newline. passed is the number of lines before the match. If no line matches, passed is the number
// of all lines, and line and rest are nil.
//
// A run is any number of lines, each an entry in canonical form and a newline, which the last may
// lack. To find all matches, continue with rest until line is nil.
//
// Next takes linear time and does not allocate, except for the numbers described in the package
// comment.
func (f *Filter) Next(run []byte) (passed int, line, rest []byte) {
	for pos := 0; pos < len(run); {
		hit := bytes.Index(run[pos:], f.needle)
		if hit < 0 {
			break
		}
		start := pos + bytes.LastIndexByte(run[pos:pos+hit], '\n') + 1
		end := len(run)
		if n := bytes.IndexByte(run[pos+hit:], '\n'); n >= 0 {
			end = pos + hit + n
		}
		next := min(end+1, len(run))
		if f.Match(run[start:end]) {
			return bytes.Count(run[:start], newline), run[start:end], run[next:]
		}
		pos = next
	}
	passed = bytes.Count(run, newline)
	if len(run) > 0 && run[len(run)-1] != '\n' {
		passed++
	}
	return passed, nil, nil
}

var newline = []byte{'\n'}
