package where

import (
	"bytes"

	"tcp-log-server/canonical"
)

// maxNeedle is the maximum length of a needle. It bounds the time of bytes.Index on adversarial
// text, and up to this length the search uses vector instructions.
const maxNeedle = 63

// choose sets the needle and loose.
//
// The needle is the member with the longest value, since short values are the most common; true,
// false and null count as one byte. Of a long member it is the end, since members more often have
// the same beginning.
func (f *Filter) choose() {
	best, bestLen := -1, 0 // score and length of the needle's member
	for pos := 1; pos < len(f.form); {
		if f.form[pos] != '"' { // a brace or a comma
			pos++
			continue
		}
		name := pos
		value := stringEnd(f.form, pos+1) + len(":")
		end, score := value+1, 0
		if f.form[value] == '{' {
			pos = end // continue with its members
		} else {
			pos = valueEnd(f.form, value)
			switch text := f.form[value:pos]; {
			case hasLooseNumber(text):
				f.loose = true
				end = value
			case text[0] == 't' || text[0] == 'f' || text[0] == 'n':
				end, score = pos, 1
			default:
				end, score = pos, len(text)
			}
		}
		if score > best || score == best && end-name > bestLen {
			best, bestLen = score, end-name
			f.needle = f.form[max(name, end-maxNeedle):end]
		}
	}
}

// hasLooseNumber reports whether value, in canonical form, is or contains a number that earlier
// versions stored as it was written.
func hasLooseNumber(value []byte) bool {
	for pos := 0; pos < len(value); {
		switch c := value[pos]; {
		case c == '"':
			pos = stringEnd(value, pos+1)
		case c == '-' || '0' <= c && c <= '9':
			end := valueEnd(value, pos)
			if isLoose(value[pos:end]) {
				return true
			}
			pos = end
		default:
			pos++
		}
	}
	return false
}

// isLoose reports whether earlier versions stored a number as it was written. number is in
// canonical form: they did if they stored another notation of it.
func isLoose(number []byte) bool {
	const safe = 15 // digits that a double always holds
	e := bytes.IndexByte(number, 'e')
	if len(number) <= safe && e < 0 {
		return false
	}
	other := append([]byte(nil), number...)
	if e >= 0 {
		other[e] = 'E'
	} else {
		other = append(other, "e0"...)
	}
	return canonical.CheckStored(other) == nil
}
