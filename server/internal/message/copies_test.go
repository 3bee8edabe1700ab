package message

import (
	"strings"
	"testing"
)

const aStore = "0123456789abcdef0123456789abcdef"

// TestCopies: the messages between copies of a log, and that a member that older servers
// ignored does not change other messages.
func TestCopies(t *testing.T) {
	for line, want := range map[string]struct {
		kind Kind
		copy Copy
	}{
		`{"replicate":{"from":1}}`: {Replicate, Copy{From: 1, Epoch: 1}},
		`{"replicate":{"from":4e2,"store":"` + aStore + `","epoch":2,"name":"ann","x":[{}]}}`:  {Replicate, Copy{From: 400, Store: aStore, Epoch: 2, Name: "ann"}},
		` { "\u0072eplicate" : { "\u0066rom" : 1 , "through" : "any" } , "digested" : true } `: {Replicate, Copy{From: 1, Epoch: 1}},
		`{"durable":0}`:                     {Durable, Copy{Epoch: 1}},
		`{"durable":57}`:                    {Durable, Copy{Epoch: 1, Durable: 57}},
		`{"digest":{"through":9,"from":9}}`: {Digest, Copy{From: 9, Through: 9, Epoch: 1}},
		`{"digest":{"through":9,"from":1,"replicas":true}}`: {Digest, Copy{From: 1, Through: 9, Replicas: true, Epoch: 1}},
		`{"digest":{"through":9,"from":1}}`:                 {Digest, Copy{From: 1, Through: 9, Epoch: 1}},
		`{"digest":0,"token":"T"}`:                          {kind: Token},
		`{"durable":1,"stat":true}`:                         {kind: Stat},
		`{"replicate":0,"from":1}`:                          {kind: Read},
		`{"replicate":0,"last":1}`:                          {kind: Read},
		`{"durable":1,"id":"x","entry":[]}`:                 {kind: Write},
		`{"id":"x","entries":[[]],"digest":1}`:              {kind: Write},
	} {
		m, _, err := Parse([]byte(line), nil)
		if err != nil || m.Kind != want.kind || m.Fault != "" {
			t.Errorf("%s is of kind %d, fault %q, error %v, want kind %d", line, m.Kind, m.Fault, err, want.kind)
		} else if m.Copy == nil && want.copy != (Copy{}) || m.Copy != nil && *m.Copy != want.copy {
			t.Errorf("%s says %+v, want %+v", line, m.Copy, want.copy)
		}
	}
}

// TestBadCopies: the errors of messages between copies.
func TestBadCopies(t *testing.T) {
	for line, want := range map[string]string{
		`{"replicate":true}`:                              `"replicate" is true, want an object`,
		`{"replicate":{}}`:                                `"from" in "replicate" is missing, want a whole number from 1 on`,
		`{"replicate":{"from":0}}`:                        `"from" in "replicate" is 0, want a whole number from 1 on`,
		`{"replicate":{"from":1,"from":1}}`:               `"from" in "replicate" occurs twice, want it once`,
		`{"replicate":{"from":1,"epoch":0}}`:              `"epoch" in "replicate" is 0, want a whole number from 1 on`,
		`{"replicate":{"from":1,"store":"0123"}}`:         `"store" in "replicate" is a string, want 32 hexadecimal digits in lower case`,
		`{"replicate":{"from":1,"store":null}}`:           `"store" in "replicate" is null, want 32 hexadecimal digits in lower case`,
		`{"replicate":{"from":1,"name":""}}`:              `"name" in "replicate" is an empty string, want a string of 1 to 255 bytes`,
		`{"replicate":{"from":1},"replicate":{"from":1}}`: `"replicate" occurs twice, want it once`,
		`{"replicate":{"from":1},"durable":0}`:            `it has both "durable" and "replicate", want one of them`,
		`{"digest":{"from":1,"through":1},"durable":0}`:   `it has both "digest" and "durable", want one of them`,
		`{"durable":-1}`:                                  `"durable" is -1, want a whole number from 0 on`,
		`{"durable":"1"}`:                                 `"durable" is a string, want a whole number from 0 on`,
		`{"durable":1,"durable":1}`:                       `"durable" occurs twice, want it once`,
		`{"digest":[1,2]}`:                                `"digest" is an array, want an object`,
		`{"digest":{"from":1,"through":1,"replicas":1}}`:  `"replicas" in "digest" is 1, want true or false`,
		`{"digest":{"from":1}}`:                           `"through" in "digest" is missing, want a whole number from 1 on`,
		`{"digest":{"through":1}}`:                        `"from" in "digest" is missing, want a whole number from 1 on`,
		`{"digest":{"from":2,"through":1}}`:               `"digest" is from 2 through 1, want "through" to be no less than "from"`,
		`{"digest":{"from":1,"through":1.5}}`:             `"through" in "digest" is 1.5, want a whole number from 1 on`,
		`{"replicate":{"from":1,"name":"` + long + `"}}`:  `"name" in "replicate" is a string, want a string of 1 to 255 bytes`,
	} {
		wantFault(t, line, "", "invalid message: "+want)
	}
}

var long = strings.Repeat("n", MaxName+1)
