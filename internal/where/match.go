package where

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"tcp-log-server/canonical"
)

// Match reports whether an entry, in canonical form and without a newline, contains the object of
// the filter.
//
// If the bytes are not canonical JSON, the result is undefined, but takes no longer.
func (f *Filter) Match(entry []byte) bool {
	if len(entry) == 0 || entry[0] != '{' {
		return false
	}
	form := f.form
	// form[:i] is contained in entry[:j]. Both positions are in corresponding objects, after the
	// opening brace or after a value.
	i, j := 1, 1
	for {
		ended := 0 // objects that end at i
		for form[i] == '}' {
			if i++; i == len(form) {
				return true
			}
			ended++
		}
		if ended > 0 {
			j = leave(entry, j, ended)
		}
		if form[i] == ',' {
			if !at(entry, j, ',') {
				return false
			}
			i, j = i+1, j+1
		}

		// Find the member at form[i]. Both objects are sorted alike, so it is at or after j, and so
		// is the one after it.
		for {
			if !at(entry, j, '"') {
				return false
			}
			name := j
			j = stringEnd(entry, j+1)
			if !at(entry, j, ':') {
				return false
			}
			j++
			if bytes.HasPrefix(form[i:], entry[name:j]) {
				i += j - name
				break
			}
			if j = valueEnd(entry, j); !at(entry, j, ',') {
				return false
			}
			j++
		}

		if form[i] == '{' {
			if !at(entry, j, '{') {
				return false
			}
			i, j = i+1, j+1
			continue
		}
		value := j
		j = valueEnd(entry, j)
		n := f.equal(i, entry[value:j])
		if n == 0 {
			return false
		}
		i += n
	}
}

// equal returns the length of the value at form[i], which is not an object, if it equals value,
// otherwise 0.
func (f *Filter) equal(i int, value []byte) int {
	if n := f.same(i, value); n > 0 || !f.loose || len(value) == 0 || isPlain(value) {
		return n
	}
	if value[0] != '[' && value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return 0
	}
	value, _, err := canonical.Append(nil, value)
	if err != nil {
		return 0
	}
	return f.same(i, value)
}

// same is equal for a value in canonical form. The byte after the value in form distinguishes 1
// from 12.
func (f *Filter) same(i int, value []byte) int {
	end := i + len(value)
	if bytes.HasPrefix(f.form[i:], value) && (at(f.form, end, ',') || at(f.form, end, '}')) {
		return len(value)
	}
	return 0
}

// isPlain reports whether value is a whole number of digits only, in canonical form.
func isPlain(value []byte) bool {
	const maxPlain = 21 // a number with more digits has an exponent
	if len(value) > maxPlain || value[0] == '0' {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// at reports whether text has c at pos.
func at(text []byte, pos int, c byte) bool { return pos < len(text) && text[pos] == c }

// The functions below return the position after the skipped part, or len(text) if text ends before.

// valueEnd skips the value at pos.
func valueEnd(text []byte, pos int) int {
	if pos >= len(text) {
		return len(text)
	}
	switch text[pos] {
	case '"':
		return stringEnd(text, pos+1)
	case '{', '[':
		return leave(text, pos+1, 1)
	}
	for ; pos < len(text); pos++ {
		if c := text[pos]; c == ',' || c == '}' || c == ']' {
			break
		}
	}
	return pos
}

// leave skips to the end of the depth-th array or object around pos, counted from the innermost.
// pos is not in a string.
func leave(text []byte, pos, depth int) int {
	for pos < len(text) {
		switch text[pos] {
		case '"':
			pos = stringEnd(text, pos+1)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return pos + 1
			}
		}
		pos++
	}
	return len(text)
}

// stringEnd skips a string; pos is after its opening quote.
func stringEnd(text []byte, pos int) int {
	for {
		// Test eight bytes at once: a byte equals c if its XOR with c is less than 1. A
		// borrow may wrongly set the top bits of higher bytes, but not those of lower ones.
		for pos+8 <= len(text) {
			const (
				ones = 0x0101010101010101
				tops = 0x80 * ones
			)
			w := binary.LittleEndian.Uint64(text[pos:])
			quote, slash := w^'"'*ones, w^'\\'*ones
			if m := ((quote-ones)&^quote | (slash-ones)&^slash) & tops; m != 0 {
				pos += bits.TrailingZeros64(m) / 8
				break
			}
			pos += 8
		}
		for pos < len(text) && text[pos] != '"' && text[pos] != '\\' {
			pos++
		}
		switch {
		case pos >= len(text):
			return len(text)
		case text[pos] == '"':
			return pos + 1
		}
		pos += 2
	}
}
