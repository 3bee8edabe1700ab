package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tcp-log-server/appends"
	"tcp-log-server/canonical"
)

// member is one member of a message as encoding/json sees it.
type member struct {
	name string
	raw  []byte // the value
}

// membersOf splits a line into members. known is false where encoding/json and the protocol differ
// on purpose: encoding/json accepts invalid UTF-8 and stops at 10,000 levels. ok says that the line
// is JSON, object that it is an object.
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
		// In an entry invalid UTF-8 is refused; anywhere else it makes the line invalid JSON.
		var parts []json.RawMessage
		if name != "entries" || raw[0] != '[' || json.Unmarshal(raw, &parts) != nil {
			parts = []json.RawMessage{raw}
		}
		for _, part := range parts {
			storable := (name == "entry" || name == "entries" && raw[0] == '[') && isStorable(part)
			if !storable && !utf8.Valid(part) {
				return nil, false, false, true
			}
		}
		members = append(members, member{name.(string), raw})
	}
	return members, true, true, true
}

// isStorable reports whether the value is of a kind that an entry may be.
func isStorable(raw []byte) bool { return strings.ContainsAny(string(raw[:1]), "{[n") }

// writesWell reports whether the members of a write, besides its id, are those that the
// protocol allows.
func writesWell(of func(name string) [][]byte) bool {
	entry, entries := of("entry"), of("entries")
	isEntries := func(raw []byte) bool {
		var all []json.RawMessage
		return raw[0] == '[' && json.Unmarshal(raw, &all) == nil && len(all) > 0
	}
	isHead := func(raw []byte) bool {
		zero, _ := new(big.Rat).SetString(string(raw))
		return isPositive(raw) || zero != nil && zero.Sign() == 0
	}
	for name, ok := range map[string]func(raw []byte) bool{
		"entry": isStorable, "entries": isEntries, "if": isHead, "once": isBoolean, "receipt": isBoolean,
	} {
		if values := of(name); len(values) > 1 || len(values) == 1 && !ok(values[0]) {
			return false
		}
	}
	once := len(of("once")) == 1 && string(of("once")[0]) == "true"
	return len(entry)+len(entries) == 1 && !(once && len(of("if"))+len(entries) > 0)
}

// decide determines the kind of a message, straight from the protocol's words.
func decide(members []member, object bool) Kind {
	if !object {
		return Invalid
	}
	of := func(name string) (values [][]byte) {
		for _, m := range members {
			if m.name == name {
				values = append(values, m.raw)
			}
		}
		return values
	}
	id, entry, from, read, tok, sta := of("id"), of("entry"), of("from"), of("read"), of("token"), of("stat")
	for _, values := range [][][]byte{id, entry, of("entries"), from, read, tok, sta} {
		if len(values) > 1 {
			return Invalid
		}
	}
	entry = append(entry, of("entries")...)
	isWrite := len(id) == 1 && id[0][0] == '"' && string(id[0]) != `""` && len(id[0]) <= MaxID && writesWell(of)
	begins := len(from) > 0 || len(tok)+len(sta) == 0 && len(of("last"))+len(of("since")) > 0
	switch {
	case isWrite && len(from) == 0:
		return Write
	case begins && asksWell(of) && len(entry) == 0:
		return Read
	case begins || len(id)+len(entry)+len(from)+len(read) > 0:
		return Invalid
	case len(tok) == 1 && tok[0][0] == '"' && len(sta) == 0:
		return Token
	case len(tok) == 0 && len(sta) == 1 && string(sta[0]) == "true":
		return Stat
	}
	return Invalid
}

// asksWell reports whether the members of a read, whose values of returns, are those that the
// protocol allows.
func asksWell(of func(name string) [][]byte) bool {
	for name, ok := range map[string]func(raw []byte) bool{
		"from": isPositive, "read": isPositive, "last": isPositive, "through": isPositive, "scan": isPositive,
		"time": isBoolean, "hash": isBoolean,
		"since": func(raw []byte) bool { _, ok := wholeTime(raw); return ok },
		"where": func(raw []byte) bool { return raw[0] == '{' && !refused(raw) },
	} {
		if values := of(name); len(values) > 1 || len(values) == 1 && !ok(values[0]) {
			return false
		}
	}
	return len(of("from"))+len(of("last"))+len(of("since")) == 1 && (len(of("scan")) == 0 || len(of("where")) == 1)
}

func isPositive(raw []byte) bool { _, ok := wholeNumber(string(raw)); return ok }

func isBoolean(raw []byte) bool { return string(raw) == "true" || string(raw) == "false" }

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// wholeTime reads an RFC 3339 time in a JSON string, in whole microseconds, rounded up.
func wholeTime(raw []byte) (µs int64, ok bool) {
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil || !rfc3339.MatchString(text) {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, strings.ToUpper(text))
	return at.Add(999 * time.Nanosecond).UnixMicro(), err == nil
}

// checkOption checks what became of an option of a read.
func checkOption(t *testing.T, q *Query, name string, raw []byte) {
	t.Helper()
	numbers := map[string]uint64{"from": q.From, "read": q.Count, "last": q.Last, "through": q.Through, "scan": q.Scan}
	if got, ok := numbers[name]; ok {
		if want, _ := wholeNumber(string(raw)); got != want {
			t.Fatalf("%s is %d, want %d", name, got, want)
		}
	}
	flags := map[string]bool{"time": q.Time, "hash": q.Hash}
	if got, ok := flags[name]; ok && got != (string(raw) == "true") {
		t.Fatalf("%s is %v, want %s", name, got, raw)
	}
	switch name {
	case "since":
		if want, _ := wholeTime(raw); q.Since != want {
			t.Fatalf("since is %d, want %d", q.Since, want)
		}
	case "where":
		if form, _, err := canonical.Append(nil, raw); err != nil || !q.Where.Match(form) {
			t.Fatalf("%s does not contain itself: %v", form, err)
		}
	}
}

// wholeNumber reads a positive whole number; those beyond the greatest index count as the greatest.
// ok is false for any other text, and for numbers whose exponent makes exact arithmetic slow.
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

// longNumber reports whether the line may have a number for which the arithmetic of big.Rat is slow.
func longNumber(line []byte) bool {
	return regexp.MustCompile(`[eE][+-]?0*[0-9]{4}`).Match(line)
}

// refused reports, using another parser, whether an entry may not be stored.
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
		`{"id":"x","entries":[[1],{"b":1,"a":2},null],"if":2}`, `{"id":"x","entries":[[],7,{"a":1,"a":1}]}`, `{"id":"x","entry":[],"if":-0,"receipt":true}`,
		`{"id":"x","entry":[],"once":true,"receipt":false}`, `{"id":"x","entry":[],"once":true,"if":0.5}`, `{"from":1,"if":-1,"if":2,"once":7}`, `{"id":"x","entries":[]}`,
		"{\"id\":\"x\",\"entries\":[[\"\xff\"],\"a\"]}", `{"entries":[1],"entries":1,"id":"x"}`, `{"id":"x","entries":[[],],"entry":[]}`, `{"stat":true,"once":true}`,
		`{"id":"x","entry":{"b":1,"a":[1.0,"\u0041"]}}`, `{"from":1}`, `{"from":10e-1,"read":5}`, `{"entry":null,"id":"\ud800"}`,
		`{"id":"x","entry":{"a":1,"a":2}}`, `{"\u0069d":"x","entry":[]}`, `{"id":"x","id":"y","entry":[]}`, ` [ ] `, `nul`, `{"from":1,"entry":{}}`,
		"{\"id\":\"x\",\"entry\":[\"\xff\"]}", "{\"id\":\"\xff\",\"entry\":[]}", `{"id":"x","entry":"text","note":{"entry":{}}}`, `{"id":"x","entry":[}`,
		`{"from":1e400,"read":0}`, `{"id":"x","entry":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`, `{"from":-1}`, `{"from":"1"}`,
		`{"token":"x"}`, `{"token":"x","token":"y"}`, `{"TOKEN":"x"}`, `{"stat":true}`, `{"stat":true,"stat":true}`, `{"from":0.9999999999999999999}`,
		`{"from":1.00000000000000000000001e21}`, `{"from":1.2e22}`, `{"id":"x","entry":[],"stat":1,"stat":2}`, `{"id":[1, "é"],"entry":1}`,
		`{"since":"2026-11-28T09:00:00.0000001+08:00","through":5,"hash":true}`, `{"since":"2026-02-30T09:00:00Z"}`, `{"last":10,"time":false,"stat":true}`,
		`{"from":1,"where":{"a":{"b":1.0}},"scan":10,"read":2}`, `{"last":1,"where":{"a":1,"a":1}}`, `{"scan":1,"last":1}`, `{"last":1,"since":"x"}`,
		`{"id":"x","last":1,"time":true,"time":true}`, `{"id":"x","entry":[],"where":[],"since":1}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsRune(line, '\n') {
			return // it would be two
		}
		before := []byte("{\"earlier\":0}\n")
		m, out, err := Parse(line, bytes.Clone(before))
		if !bytes.HasPrefix(out, before) {
			t.Fatalf("the entries before were changed: %q", out)
		}
		entry := out[len(before):]
		if err != nil && (!errors.Is(err, ErrNotJSON) || len(entry) > 0) {
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
		if longNumber(line) && (m.Kind != Write || m.Terms != nil) {
			return
		}
		if want := decide(members, object); m.Kind != want {
			t.Fatalf("kind %d, want %d", m.Kind, want)
		}
		if (m.Kind == Invalid) != strings.Contains(m.Fault, "invalid message: ") || !utf8.ValidString(m.Fault) || len(m.Fault) > 200 {
			t.Fatalf("a message of kind %d has the fault %q", m.Kind, m.Fault)
		}
		if m.Kind != Write && len(entry) > 0 {
			t.Fatalf("an entry %q of a message that is no write", entry)
		}
		for _, member := range members {
			switch {
			case m.Kind == Read:
				checkOption(t, m.Query, member.name, member.raw)
			case m.Kind == Write && member.name == "id":
				if !bytes.Equal(m.ID, member.raw) {
					t.Fatalf("id %s, want %s", m.ID, member.raw)
				}
			case m.Kind == Write && member.name == "entry":
				checkEntry(t, m, member.raw, entry)
			case m.Kind == Write && member.name == "entries":
				checkEntries(t, m, member.raw, entry)
			case m.Kind == Write && member.name == "if":
				if n, _ := wholeNumber(string(member.raw)); m.Terms.Condition() != (appends.Condition{Kind: appends.Expect, Head: n}) {
					t.Fatalf("the condition is %v, want the head to be %d", m.Terms.Condition(), n)
				}
			case m.Kind == Write && member.name == "once":
				if got, want := m.Terms.Condition().Kind == appends.Once, string(member.raw) == "true"; got != want {
					t.Fatalf("once is %v, want %v", got, want)
				}
			case m.Kind == Write && member.name == "receipt":
				if want := string(member.raw) == "true"; m.Terms.Receipt != want {
					t.Fatalf("receipt is %v, want %v", m.Terms.Receipt, want)
				}
			}
		}
	})
}

// checkEntries checks what became of the array of entries raw.
func checkEntries(t *testing.T, m Message, raw, run []byte) {
	t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != m.Terms.Count {
		t.Fatalf("there are %d entries, want %d: %v", m.Terms.Count, len(all), err)
	}
	var want []byte
	bad := 0
	for i, e := range all {
		form, _, err := canonical.Append(nil, e)
		if bad == 0 && (!isStorable(e) || refused(e)) {
			bad = i + 1
		} else if bad == 0 && err != nil {
			t.Fatal(err)
		}
		want = append(append(want, form...), '\n')
	}
	switch {
	case bad > 0:
		if prefix := fmt.Sprintf("entry %d of %d: ", bad, len(all)); m.Refused == nil || !strings.HasPrefix(m.Refused.Error(), prefix) || len(run) > 0 {
			t.Fatalf("refused with %v, and left %q, want %q", m.Refused, run, prefix)
		}
	case m.Refused != nil || !bytes.Equal(run, want):
		t.Fatalf("the entries are %q, want %q: %v", run, want, m.Refused)
	}
}

// checkEntry checks what became of the entry raw.
func checkEntry(t *testing.T, m Message, raw, entry []byte) {
	t.Helper()
	if want := refused(raw); want != (m.Refused != nil) {
		t.Fatalf("refused with %v, want it refused: %v", m.Refused, want)
	}
	if m.Refused != nil {
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
