package message

import (
	"regexp"
	"strings"
	"testing"
)

// wantFault parses a line that must be an invalid message with that id and fault.
func wantFault(t *testing.T, line, id, fault string) {
	t.Helper()
	m, out, err := Parse([]byte(line), nil)
	if err != nil || m.Kind != Invalid || string(m.ID) != id || m.Fault != fault || len(out) > 0 {
		t.Errorf("%s\n is of kind %d with the id %s, error %v, entries %q and the fault\n%s\nwant an invalid message with the id %s and the fault\n%s",
			line, m.Kind, m.ID, err, out, m.Fault, id, fault)
	}
}

const noMember = `invalid message: it has no member "digest", "durable", "entries", "entry", "from", "last", "replicate", "since", "stat" or "token"`

// TestBadTerms: a write with invalid options is refused.
func TestBadTerms(t *testing.T) {
	for members, want := range map[string]string{
		`"entry":[],"if":-1`:                    `"if" is -1, want a whole number from 0 on`,
		`"entry":[],"if":1.5`:                   `"if" is 1.5, want a whole number from 0 on`,
		`"entry":[],"if":-1e400`:                `"if" is -1e400, want a whole number from 0 on`,
		`"entry":[],"if":"41"`:                  `"if" is a string, want a whole number from 0 on`,
		`"entry":[],"if":null`:                  `"if" is null, want a whole number from 0 on`,
		`"entry":[],"if":true`:                  `"if" is true, want a whole number from 0 on`,
		`"entry":[],"if":[1]`:                   `"if" is an array, want a whole number from 0 on`,
		`"if":{},"entry":[]`:                    `"if" is an object, want a whole number from 0 on`,
		`"entry":[],"if":1,"if":1`:              `"if" occurs twice, want it once`,
		`"entry":[],"once":1`:                   `"once" is 1, want true or false`,
		`"entry":[],"once":null`:                `"once" is null, want true or false`,
		`"entry":[],"once":"true"`:              `"once" is a string, want true or false`,
		`"entry":[],"once":true,"once":true`:    `"once" occurs twice, want it once`,
		`"entry":[],"receipt":1`:                `"receipt" is 1, want true or false`,
		`"entry":[],"receipt":{}`:               `"receipt" is an object, want true or false`,
		`"receipt":true,"entry":[],"receipt":1`: `"receipt" occurs twice, want it once`,
		`"entry":[],"once":1,"if":-1`:           `"once" is 1, want true or false`,
		`"entry":[],"if":0,"once":true`:         `it has both "if" and "once", want one of them`,
		`"entries":[[]],"once":true`:            `it has both "entries" and "once", want one of them`,
		`"entry":[],"entries":[[]]`:             `it has both "entry" and "entries", want one of them`,
		`"from":1,"entries":[[]]`:               `it has both "entries" and "from", want one of them`,
		`"entries":[]`:                          `"entries" is an empty array, want at least one entry in it`,
		`"entries":{}`:                          `"entries" is an object, want an array of entries`,
		`"entries":null`:                        `"entries" is null, want an array of entries`,
		`"entries":7`:                           `"entries" is 7, want an array of entries`,
		`"entries":[[]],"entries":[[]]`:         `"entries" occurs twice, want it once`,
		`"entries":[],"entries":1`:              `"entries" occurs twice, want it once`,
		`"if":1`:                                `"entry" is missing, want an object, an array or null`,
		`"once":true`:                           `"entry" is missing, want an object, an array or null`,
		`"receipt":true`:                        `"entry" is missing, want an object, an array or null`,
		`"entry":"text","if":-1`:                `"entry" is a string, want an object, an array or null`,
	} {
		wantFault(t, `{"id":"x",`+members+`}`, `"x"`, "not stored: invalid message: "+want)
	}
	wantFault(t, `{"entries":[[1]]}`, "", `invalid message: "id" is missing, want a string that is not empty`)
	wantFault(t, `{"entries":[[1]],"id":7}`, "7", `not stored: invalid message: "id" is 7, want a string that is not empty`)
	wantFault(t, `{"if":1}`, "", noMember)
	wantFault(t, `{"once":true,"once":1}`, "", noMember)
}

// TestNoMember: the error for an object that is not a message names each member that would
// make it one, and no other.
func TestNoMember(t *testing.T) {
	begin := make(map[string]bool)
	for _, name := range regexp.MustCompile(`"\w+"`).FindAllString(noMember, -1) {
		begin[name] = true
	}
	for _, name := range strings.Fields(`"digest" "durable" "entries" "entry" "from" "last" "replicate" "since" "stat" "token" "if" "once" "receipt" "hash" "scan" "through" "time" "where" "x"`) {
		m, _, err := Parse([]byte(`{`+name+`:null}`), nil)
		if err != nil || (m.Fault == noMember) == begin[name] {
			t.Errorf("an object with nothing but %s has the fault %q and error %v", name, m.Fault, err)
		}
	}
}
