package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/appends"
)

// TestEntryForms: a peer sends entries, in lines, alone or as a batch; replies have no ids,
// and the outcome of each is reported before it.
func TestEntryForms(t *testing.T) {
	noLeaks(t)
	const limit = 100 // bytes of an entry
	long := `{"a":"` + strings.Repeat("x", limit) + `"}`
	for _, tt := range []struct {
		name    string
		with    Conversation
		input   string
		want    string
		outcome []Outcome
	}{
		{"lines", Conversation{Form: EntryLines}, "{\"b\":1,\"a\":2}\n\n [1] \r\nnull", "{\"index\":3}\n{\"index\":4}\n{\"index\":5}\n", []Outcome{Stored, Stored, Stored}},
		{"a line is an entry, not a message", Conversation{Form: EntryLines}, `{"id":"x","entry":{}}` + "\n" + `{"from":1}` + "\n" + `{"token":"x"}` + "\n",
			"{\"index\":3}\n{\"index\":4}\n{\"index\":5}\n", []Outcome{Stored, Stored, Stored}},
		{"a line with more than an entry", Conversation{Form: EntryLines}, `{"a":1},"if":5,"x":{}` + "\n" + `{"a":2}`,
			`{"error":"not stored: invalid JSON: unexpected data after the value, at byte 7"}` + "\n{\"index\":3}\n", []Outcome{Unacceptable, Stored}},
		{"bad lines among good ones", Conversation{Form: EntryLines}, "{}\n{\"a\":}\n7\n{\"a\":1,\"a\":2}\n" + long + "\n\x16\x03\n{}\n",
			"{\"index\":3}\n" +
				`{"error":"not stored: invalid JSON: found '}' at byte 5, want a value"}` + "\n" +
				`{"error":"not stored: it is 7, want an object, an array or null"}` + "\n" +
				`{"error":"not stored: duplicate member \"a\" at byte 7 of the entry"}` + "\n" +
				`{"error":"not stored: the entry is 108 bytes long, over the limit of 100"}` + "\n" +
				`{"error":"not stored: invalid JSON: found 0x16 at byte 0, want a value"}` + "\n" +
				"{\"index\":4}\n",
			[]Outcome{Stored, Unacceptable, Unacceptable, Unacceptable, TooLarge, Unacceptable, Stored}},
		{"an entry over lines", Conversation{Form: OneEntry}, "{\n  \"a\": [\n1,\n2]\n}\n", "{\"index\":3}\n", []Outcome{Stored}},
		{"nothing", Conversation{Form: OneEntry}, "", "", nil},
		{"white space", Conversation{Form: OneEntry}, " \n\n", `{"error":"not stored: invalid JSON: ends at byte 3, want a value"}` + "\n", []Outcome{Unacceptable}},
		{"two entries instead of one", Conversation{Form: OneEntry}, "{}\n{}\n", `{"error":"not stored: invalid JSON: unexpected data after the value, at byte 3"}` + "\n", []Outcome{Unacceptable}},
		{"not JSON", Conversation{Form: OneEntry}, "{\n\"a\" 1}", `{"error":"not stored: invalid JSON: found '1' at byte 6, want ':'"}` + "\n", []Outcome{Unacceptable}},
		{"TLS", Conversation{Form: OneEntry}, "\x16\x03\x01", `{"error":"not stored: invalid JSON: found 0x16 at byte 0, want a value"}` + "\n", []Outcome{Unacceptable}},
		{"a receipt", Conversation{Form: OneEntry, Receipt: true}, "{}",
			`{"index":3,"hash":"` + hashOf(`{}`) + `","time":"2025-11-24T16:00:03.000000Z"}` + "\n", []Outcome{Stored}},
		{"a condition that is met", Conversation{Form: OneEntry, On: appends.Condition{Kind: appends.Expect, Head: 2}}, "{}", "{\"index\":3}\n", []Outcome{Stored}},
		{"a condition that is not met", Conversation{Form: OneEntry, On: appends.Condition{Kind: appends.Expect, Head: 1}}, "{}",
			`{"error":"not stored: the head is 2, not 1","head":2}` + "\n", []Outcome{Unmet}},
		{"seen before", Conversation{Form: EntryLines, On: appends.Condition{Kind: appends.Once}}, "{\"n\":2}\n{\"n\":3}\n{\"n\":2}\n",
			"{\"index\":2,\"seen\":true}\n{\"index\":3}\n{\"index\":2,\"seen\":true}\n", []Outcome{Stored, Stored, Stored}},
		{"a batch", Conversation{Form: OneBatch}, "{}\n[1]{}\n", "{\"index\":3,\"count\":3}\n", []Outcome{Stored}},
		{"a batch of one", Conversation{Form: OneBatch}, "{}", "{\"index\":3,\"count\":1}\n", []Outcome{Stored}},
		{"a batch with a condition", Conversation{Form: OneBatch, On: appends.Condition{Kind: appends.Expect, Head: 2}}, "{}{}", "{\"index\":3,\"count\":2}\n", []Outcome{Stored}},
		{"a batch with a bad entry", Conversation{Form: OneBatch}, "{}\n{\"a\":1,\"a\":2}\n7\n",
			`{"error":"not stored: entry 2 of 3: duplicate member \"a\" at byte 7 of the entry"}` + "\n", []Outcome{Unacceptable}},
		{"a batch that breaks off", Conversation{Form: OneBatch}, "{}\n{\"a\":", `{"error":"not stored: invalid JSON: ends at byte 8, want a value"}` + "\n", []Outcome{Unacceptable}},
		{"a batch over the limit", Conversation{Form: OneBatch}, strings.Repeat("[1]\n", 30),
			`{"error":"not stored: the entries are 120 bytes long together, over the limit of 100"}` + "\n", []Outcome{TooLarge}},
		{"input over the limit", Conversation{Form: OneEntry}, `{"id":"mine","a":"` + strings.Repeat("x", 2*lineSlack),
			fmt.Sprintf(`{"error":"not stored: the input is over the limit of %d bytes"}`+"\n", limit+lineSlack), []Outcome{TooLarge}},
		{"a line over the limit", Conversation{Form: EntryLines}, "{}\n" + `{"id":"mine","a":"` + strings.Repeat("x", 2*lineSlack) + "\"}\n{}\n",
			fmt.Sprintf("{\"index\":3}\n"+`{"error":"not stored: the input is over the limit of %d bytes"}`+"\n{\"index\":4}\n", limit+lineSlack), []Outcome{Stored, TooLarge, Stored}},
		{"rights", Conversation{Form: OneEntry, Token: tokenHash("read")}, "{}", `{"error":"not stored: unauthorized: this token may not write"}` + "\n", []Outcome{Forbidden}},
	} {
		for _, size := range []int{1 << 20, 7, 1} {
			log := newFakeLog() // its times are known
			log.put(t, `{"n":1}`, `{"n":2}`)
			nc := &script{pieces: cut(tt.input, size)}
			var outcomes []Outcome
			tt.with.OnReply = func(o Outcome) { outcomes = append(outcomes, o) }
			err := New(log, Config{MaxEntry: limit, Tokens: guests}).Converse(nc, tt.with)
			if got := nc.out.String(); got != tt.want || err != nil || !slices.Equal(outcomes, tt.outcome) {
				t.Errorf("%s, in pieces of %d bytes: got %v, %v and\n%swant %v and\n%s", tt.name, size, err, outcomes, got, tt.outcome, tt.want)
			}
		}
	}
}

func tokenHash(token string) *[32]byte {
	hash := sha256.Sum256([]byte(token))
	return &hash
}

// TestFailedConversation: an append that may be stored is never reported as not stored.
func TestFailedConversation(t *testing.T) {
	noLeaks(t)
	for text, want := range map[string]Outcome{
		"not stored: no space left on device": Unstored,
		"outcome unknown: input/output error": Unknown,
		"input/output error":                  Unknown,
	} {
		var got Outcome
		nc := &script{pieces: []string{"{}"}}
		err := New(brokenLog{newFakeLog(), errors.New(text)}, Config{}).Converse(nc, Conversation{Form: OneEntry, OnReply: func(o Outcome) { got = o }})
		if err != nil || got != want || nc.out.String() != `{"error":"`+text+`"}`+"\n" {
			t.Errorf("%s: got %v, %v, %s, want %v", text, err, got, nc.out.String(), want)
		}
	}
}

// TestMessagesOfAConversation: messages are those of the protocol, and the end of the input
// ends a read at its snapshot.
func TestMessagesOfAConversation(t *testing.T) {
	noLeaks(t)
	log := openFake(t)
	put(t, log, `{"n":1}`, `{"n":2}`)
	nc := &script{pieces: []string{`{"from":2}` + "\n"}}
	if err := New(log, Config{}).Converse(nc, Conversation{}); err != nil {
		t.Error(err)
	}
	if got, want := nc.out.String(), entry(2, 2)+"\n"+current+"\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// begin starts a conversation of messages; end receives the result of Converse.
func (h *host) begin(with Conversation) (c *client, end <-chan error) {
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- h.Converse(theirs, with) }()
	return newClient(h.t, ours), ended
}

// TestConversationsEnd: a conversation ends with its token and with the server, and does not
// begin without a place or a right.
func TestConversationsEnd(t *testing.T) {
	noLeaks(t)
	var revoked bool
	tokens := func(hash [32]byte) (string, Rights) {
		if revoked {
			return "", Rights{}
		}
		return guests(hash)
	}
	h := start(t, openFake(t), Config{MaxConnections: 2, Tokens: tokens})
	reader, ended := h.begin(Conversation{Token: tokenHash("read")})
	reader.send(`{"from":1}`)
	reader.want(current)
	other, otherEnded := h.begin(Conversation{}) // of a peer with all rights
	other.send(`{"from":1}`)
	other.want(current)
	if err := h.Converse(&script{}, Conversation{}); err != ErrTooManyConnections {
		t.Errorf("the third of two: %v, want %v", err, ErrTooManyConnections)
	}
	revoked = true
	h.Reauthorize()
	if err := <-ended; err != ErrUnauthorized {
		t.Errorf("ended with %v, want %v", err, ErrUnauthorized)
	}
	if err := h.Converse(&script{}, Conversation{Token: tokenHash("read")}); err != ErrUnauthorized {
		t.Errorf("with a token that is revoked: %v, want %v", err, ErrUnauthorized)
	}
	other.append(1, 1)
	other.want(ack(1, 1), entry(1, 1))
	h.shutdown()
	other.wantEnd()
	if err := <-otherEnded; err != nil {
		t.Errorf("ended with %v", err)
	}
	if err := h.Converse(&script{}, Conversation{}); err != ErrServerClosed {
		t.Errorf("after Shutdown: %v, want %v", err, ErrServerClosed)
	}
	if n := h.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestShutdownAnswersEntries: the part of a body that was read before the end is answered.
func TestShutdownAnswersEntries(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.hold()
	s := New(log, Config{})
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- s.Converse(theirs, Conversation{Form: EntryLines}) }()
	c := newClient(t, ours)
	c.send(`{"n":1}`)
	log.wait(t, 1)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	poll(t, "the beginning of the end", s.isStopping)
	log.release(nil)
	c.want(`{"index":1}`)
	c.wantEnd()
	if err := errors.Join(<-ended, <-down); err != nil {
		t.Error(err)
	}
}
