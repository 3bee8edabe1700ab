package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// appendJSON appends an object with members in this order: names and values alternate.
func appendJSON(b []byte, members ...any) []byte {
	b = append(b, '{')
	for i := 0; i < len(members); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "%q:", members[i])
		var value bytes.Buffer
		e := json.NewEncoder(&value)
		e.SetEscapeHTML(false)
		if err := e.Encode(members[i+1]); err != nil { // never for numbers, strings and JSON
			value.Reset()
			value.WriteString("null\n")
		}
		b = append(b, bytes.TrimSuffix(value.Bytes(), []byte("\n"))...)
	}
	return append(b, '}')
}

// The colours of JSON: of names, strings, and other values.
const (
	colorName   = "\x1b[34;1m"
	colorString = "\x1b[32m"
	colorOther  = "\x1b[33m"
	colorEnd    = "\x1b[0m"
)

// appendForTerminal appends JSON text, with or without white space around its values, in a form that is safe
// on a terminal: it escapes the control characters that JSON allows in strings, since they could move the
// cursor or worse. Without color the result is JSON with the same value.
func appendForTerminal(b, text []byte, color bool) []byte {
	paint := func(code string, part []byte) {
		if color {
			b = append(b, code...)
		}
		for i := 0; i < len(part); i++ {
			switch c := part[i]; {
			case c == 0x7f:
				b = append(b, `\u007f`...)
			case c == 0xc2 && i+1 < len(part) && part[i+1] < 0xa0: // U+0080 to U+009F
				b = fmt.Appendf(b, `\u%04x`, part[i+1])
				i++
			default:
				b = append(b, c)
			}
		}
		if color {
			b = append(b, colorEnd...)
		}
	}
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; c {
		case '{', '}', '[', ']', ',', ':', ' ', '\n':
			b = append(b, c)
		case '"':
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			if end < len(text) && text[end] == ':' {
				paint(colorName, text[i:end])
			} else {
				paint(colorString, text[i:end])
			}
		default:
			for end < len(text) && !bytes.ContainsRune([]byte(",]}\n"), rune(text[end])) {
				end++
			}
			paint(colorOther, text[i:end])
		}
		i = end
	}
	return b
}
