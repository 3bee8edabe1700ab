package where

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"tcp-log-server/canonical"
)

// FuzzMatch compares Compile, Match and Next with encoding/json. Bytes that are not an entry must
// not make Match or Next panic.
func FuzzMatch(f *testing.F) {
	for _, tt := range matches {
		f.Add([]byte(tt.filter), []byte(tt.entry))
	}
	f.Add([]byte(`{"a":[1e400]}`), []byte(`{"a":[1E400]}`))
	f.Add([]byte(`{"a":"b,c"}`), []byte(`{"a":"b`))
	f.Add([]byte(`{"a":"b}"}`), []byte(`{"a":"b`))
	f.Add([]byte(`{"a":1}`), []byte(`{"a":1`))
	f.Add([]byte(`{"a":1e400}`), []byte(`{"a":}`))
	f.Add([]byte(`{"a":{},"b":1}`), []byte(`{"a":{"\`))
	f.Fuzz(func(t *testing.T, object, entry []byte) {
		filter, err := Compile(object)
		if err != nil {
			if !strings.HasPrefix(err.Error(), `"where" `) {
				t.Fatal(err)
			}
			if canonical.Check(object) == nil && object[0] == '{' {
				t.Fatalf("%s: %v", object, err)
			}
			return
		}
		if !filter.Match(filter.form) {
			t.Fatalf("%s does not match itself", object)
		}
		filter.Match(entry)
		for rest := entry; len(rest) > 0; {
			_, line, after := filter.Next(rest)
			if line != nil && !filter.Match(line) {
				t.Fatalf("%s in %q: Next finds %q", object, entry, line)
			}
			rest = after
		}

		var entries [][]byte
		if canonical.CheckStored(entry) == nil {
			entries = append(entries, entry)
		}
		if out, n, err := canonical.Append(nil, entry); err == nil && n == len(entry) {
			entries = append(entries, out)
		}
		if len(entries) == 0 {
			return
		}
		entries = append(entries, filter.form)
		run := bytes.Join(entries, newline)
		checkRun(t, filter, object, entries, run)
		checkRun(t, filter, object, entries, append(run, '\n'))
	})
}

// FuzzParse checks that the result of Parse for the lines of a text matches each of them.
func FuzzParse(f *testing.F) {
	for _, tt := range notations {
		f.Add(strings.Join(tt.args, "\n"))
	}
	for _, tt := range notationErrors {
		f.Add(strings.Join(tt.args, "\n"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		object, err := Parse(args)
		if err != nil {
			if object != nil || !strings.HasPrefix(err.Error(), "--where ") {
				t.Fatalf("%q: %s, %v", args, object, err)
			}
			return
		}
		if err := canonical.Check(object); err != nil || object[0] != '{' {
			t.Fatalf("%q: %s: %v", args, object, err)
		}
		for _, arg := range args {
			one, err := Parse([]string{arg})
			if err != nil {
				t.Fatalf("%q by itself: %v", arg, err)
			}
			if !compile(t, string(one)).Match(object) {
				t.Fatalf("%q: %s does not contain %s", args, object, one)
			}
			// For a notation with a string value, the object has exactly that value.
			name, value, _ := strings.Cut(arg, "=")
			if strings.HasPrefix(strings.TrimLeft(arg, " \t\r"), "{") || strings.Contains(name, ".") || json.Valid([]byte(value)) {
				continue
			}
			var got map[string]string
			if err := json.Unmarshal(one, &got); err != nil || len(got) != 1 || got[name] != value {
				t.Fatalf("%q: %s, %v", arg, one, err)
			}
		}
	})
}
