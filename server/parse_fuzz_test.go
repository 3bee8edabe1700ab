package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tcp-log-server/canonical"
)

// member is one member of a message as encoding/json sees it.
type member struct {
	name string
	raw  []byte // the value
}

// membersOf takes a line apart. known is false where encoding/json and the
// protocol differ on purpose: encoding/json takes invalid UTF-8 and stops at
// 10,000 levels. ok says that the line is JSON, object that it is an object.
func membersOf(line []byte) (members []member, object, ok, known bool) {
	if bytes.Count(line, []byte("["))+bytes.Count(line, []byte("{")) > 9000 {
		return nil, false, false, false
	}
	if !json.Valid(line) {
		return nil, false, false, true
	}
	if !utf8.Valid(line) && bytes.TrimLeft(line, " \t\r\n")[0] != '{' {
		return nil, false, false, true
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false, true, true
	}
	for dec.More() {
		from := dec.InputOffset()
		name, err := dec.Token()
		if err != nil || !utf8.Valid(line[from:dec.InputOffset()]) {
			return nil, false, false, true
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, false, false, true
		}
		// Of an entry invalid UTF-8 is refused; anywhere else it is no JSON.
		if storable := name == "entry" && strings.ContainsAny(string(raw[:1]), "{[n"); !storable && !utf8.Valid(raw) {
			return nil, false, false, true
		}
		members = append(members, member{name.(string), raw})
	}
	return members, true, true, true
}

// decide says what a message is, straight from the protocol's words.
func decide(members []member, object bool) kind {
	if !object {
		return invalid
	}
	of := func(name string) (values [][]byte) {
		for _, m := range members {
			if m.name == name {
				values = append(values, m.raw)
			}
		}
		return values
	}
	positive := func(values [][]byte) bool {
		if len(values) != 1 {
			return false
		}
		_, ok := wholeNumber(string(values[0]))
		return ok
	}
	id, entry, from, read := of("id"), of("entry"), of("from"), of("read")
	isWrite := len(id) == 1 && id[0][0] == '"' && string(id[0]) != `""` &&
		len(entry) == 1 && strings.ContainsAny(string(entry[0][:1]), "{[n")
	isRead := positive(from) && (len(read) == 0 || positive(read))
	switch {
	case isWrite && len(from) == 0:
		return write
	case isRead && len(entry) == 0:
		return readKind
	}
	return invalid
}

// readKind is the kind read where a variable hides that name.
const readKind = read

// wholeNumber reads a positive whole number, those beyond what an index can be
// as the greatest. ok is false for any other text, and for numbers whose
// exponent makes exact arithmetic long.
func wholeNumber(text string) (n uint64, ok bool) {
	r, isNumber := new(big.Rat).SetString(text)
	if !isNumber || text[0] == '"' || r.Sign() <= 0 || !r.IsInt() {
		return 0, false
	}
	if !r.Num().IsInt64() {
		return 1<<63 - 1, true
	}
	return r.Num().Uint64(), true
}

// oddNumber reports whether the line may have a number in which a double and
// exact arithmetic differ, or which takes exact arithmetic long.
func oddNumber(line []byte) bool {
	digits := 0
	for i, c := range line {
		switch {
		case '0' <= c && c <= '9':
			if digits++; digits > 15 {
				return true
			}
		case c == '.':
		case c|0x20 == 'e' && i+3 < len(line):
			rest := bytes.TrimLeft(line[i+1:], "+-")
			if len(rest) > 1 && rest[0] >= '0' && rest[0] <= '9' && rest[1] >= '0' && rest[1] <= '9' {
				return true // an exponent of two digits or more
			}
			digits = 0
		default:
			digits = 0
		}
	}
	return false
}

// refused reports whether an entry may not be stored, by another parser.
func refused(raw []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		_, err := dec.ReadToken()
		if err == io.EOF {
			return false
		}
		if err != nil || dec.StackDepth() > 128 {
			return true
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{
		`{"id":"x","entry":{"b":1,"a":[1.0,"\u0041"]}}`, `{"from":1}`, `{"from":10e-1,"read":5}`, `{"entry":null,"id":"\ud800"}`,
		`{"id":"x","entry":{"a":1,"a":2}}`, `{"\u0069d":"x","entry":[]}`, `{"id":"x","id":"y","entry":[]}`, ` [ ] `, `nul`, `{"from":1,"entry":{}}`,
		"{\"id\":\"x\",\"entry\":[\"\xff\"]}", "{\"id\":\"\xff\",\"entry\":[]}", `{"id":"x","entry":"text","note":{"entry":{}}}`, `{"id":"x","entry":[}`,
		`{"from":1e400,"read":0}`, `{"id":"x","entry":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`, `{"from":-1}`, `{"from":"1"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsRune(line, '\n') {
			return // it would be two
		}
		before := []byte("{\"earlier\":0}\n")
		m, out, err := parse(line, bytes.Clone(before))
		if !bytes.HasPrefix(out, before) {
			t.Fatalf("the entries before were changed: %q", out)
		}
		entry := out[len(before):]
		if err != nil && (!errors.Is(err, errNotJSON) || len(entry) > 0) {
			t.Fatalf("error %v with an entry of %q", err, entry)
		}
		members, object, ok, known := membersOf(line)
		if !known {
			return
		}
		if ok != (err == nil) {
			t.Fatalf("error %v, but the line is JSON: %v", err, ok)
		}
		if err != nil {
			return
		}
		if odd := oddNumber(line); odd && m.kind != write {
			return
		}
		if want := decide(members, object); m.kind != want {
			t.Fatalf("kind %d, want %d", m.kind, want)
		}
		if m.kind != write && len(entry) > 0 {
			t.Fatalf("an entry %q of a message that is no write", entry)
		}
		for _, member := range members {
			switch {
			case m.kind == readKind && member.name == "from":
				if n, _ := wholeNumber(string(member.raw)); n != m.from {
					t.Fatalf("from %d, want %d", m.from, n)
				}
			case m.kind == readKind && member.name == "read":
				if n, _ := wholeNumber(string(member.raw)); n != m.count {
					t.Fatalf("read %d, want %d", m.count, n)
				}
			case m.kind == write && member.name == "id":
				if !bytes.Equal(m.id, member.raw) {
					t.Fatalf("id %s, want %s", m.id, member.raw)
				}
			case m.kind == write && member.name == "entry":
				checkEntry(t, m, member.raw, entry)
			}
		}
	})
}

// checkEntry checks what became of the entry raw.
func checkEntry(t *testing.T, m message, raw, entry []byte) {
	t.Helper()
	if want := refused(raw); want != (m.refused != nil) {
		t.Fatalf("refused with %v, want it refused: %v", m.refused, want)
	}
	if m.refused != nil {
		if len(entry) > 0 {
			t.Fatalf("a refused entry left %q", entry)
		}
		return
	}
	if len(entry) == 0 || entry[len(entry)-1] != '\n' || bytes.Count(entry, []byte("\n")) != 1 {
		t.Fatalf("the entry is %q, want one line", entry)
	}
	if err := canonical.Check(entry[:len(entry)-1]); err != nil {
		t.Fatalf("%s: %v", entry, err)
	}
	want, _, err := canonical.Append(nil, raw)
	if err != nil || !bytes.Equal(append(want, '\n'), entry) {
		t.Fatalf("the entry is %s, want %s, %v", entry, want, err)
	}
}
