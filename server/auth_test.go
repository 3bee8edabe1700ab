package server

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
)

const unauthorized = `{"error":"unauthorized"}`

// guests are the tokens of these tests: each is named like its rights.
func guests(hash [32]byte) (string, Rights) {
	for name, rights := range map[string]Rights{"read": {Read: true}, "write": {Write: true}, "both": {Read: true, Write: true}, "\uFFFD": {Read: true}} {
		if hash == sha256.Sum256([]byte(name)) {
			return name, rights
		}
	}
	return "", Rights{}
}

func tokenLine(name string) string { return `{"token":"` + name + `"}` }

func TestTokenFirst(t *testing.T) {
	noLeaks(t)
	log := openMemory(t)
	h := start(t, log, Config{Tokens: guests})
	for name, input := range map[string]string{
		"a write":         `{"id":"1","entry":{"n":1}}` + "\n",
		"a read":          `{"from":1}` + "\n",
		"a stat":          `{"stat":true}` + "\n",
		"no JSON":         "GET / HTTP/1.1\r\n\r\n",
		"binary":          "\x16\x03\x01\x00\xff\n",
		"a blank line":    "\n" + tokenLine("both") + "\n",
		"a wrong token":   tokenLine("bot") + "\n" + `{"id":"1","entry":{"n":1}}` + "\n",
		"an empty token":  tokenLine("") + "\n",
		"the hash":        tokenLine(fmt.Sprintf("%x", sha256.Sum256([]byte("both")))) + "\n",
		"a number":        `{"token":1}` + "\n",
		"null":            `{"token":null}` + "\n",
		"another name":    `{"TOKEN":"both"}` + "\n",
		"another case":    `{"Token":"both"}` + "\n",
		"two tokens":      `{"token":"bot","token":"both"}` + "\n",
		"one token twice": `{"token":"both","token":"both"}` + "\n",
		"two, an escape":  `{"token":"bot","t\u006fken":"both"}` + "\n",
		"half a pair":     `{"token":"\ud800"}` + "\n",
		"a mark":          "\ufeff" + tokenLine("both") + "\n",
		"a token inside":  `{"a":{"token":"both"}}` + "\n",
		"an endless line": `{"token":"` + strings.Repeat("x", authLine),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, h.dial().nc)
			c.write(input)
			c.want(unauthorized)
			c.wantEnd()
		})
	}
	// A client that sends nothing, or half a line, gets no answer.
	for _, input := range []string{"", `{"token":"bo`} {
		c := h.dial()
		c.write(input)
		c.half()
		if rest, err := io.ReadAll(c.r); err != nil || (len(rest) > 0 && string(rest) != unauthorized+"\n") {
			t.Errorf("after %q comes %q, %v", input, rest, err)
		}
	}
	if n, _ := log.Head(t.Context()); n != 0 {
		t.Errorf("the head is %d: somebody came in", n)
	}
}

// TestWrongTransport: a peer without TLS is told in plain text that the server requires it; one
// with a TLS version that the server does not speak gets its answer at once, though no newline
// may come.
func TestWrongTransport(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}}
	for name, tt := range map[string]struct {
		config        Config
		sends, answer string
	}{
		"plain to TLS":              {Config{TLS: secure}, `{"id":"1","entry":{"n":1}}` + "\n", `{"error":"this server requires TLS"}`},
		"a lot to TLS":              {Config{TLS: secure}, strings.Repeat(`{"id":"1","entry":{"n":1}}`+"\n", 40_000), `{"error":"this server requires TLS"}`},
		"TLS to plain":              {Config{}, "\x16\x03\x01\x02", `{"error":"invalid JSON"}`},
		"TLS to plain, with tokens": {Config{Tokens: guests}, "\x16\x03\x01\x02", unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			log := openMemory(t)
			c := newClient(t, start(t, log, tt.config).dial().nc)
			c.write(tt.sends)
			c.want(tt.answer)
			c.wantEnd()
			if n, _ := log.Head(t.Context()); n != 0 {
				t.Errorf("the head is %d, want 0", n)
			}
		})
	}
}

func TestRights(t *testing.T) {
	noLeaks(t)
	h := start(t, openMemory(t), Config{Tokens: guests, Stat: func() any { return map[string]int{"head": 7} }})

	// Everything may arrive with the token in one packet.
	both := h.dial()
	both.send(`{"note":1, "note":2, "t\u006fken": "b\u006fth"}`, `{"id":"1","entry":{"n":1}}`, `{"stat":true}`)
	got := []string{both.line(), both.line()}
	if got[0] > got[1] {
		got[0], got[1] = got[1], got[0]
	}
	if got[0] != ack(1, 1) || got[1] != `{"stat":{"head":7}}` {
		t.Fatalf("got %q", got)
	}
	both.send(`{"from":1,"read":1}`)
	both.want(entry(1, 1), head(1))

	reader := h.dial()
	reader.send(tokenLine("read"))
	reader.send(`{"id":"2","entry":{"n":2}}`)
	reader.want(`{"id":"2","error":"not stored: unauthorized: this token may not write"}`)
	reader.send(`{"from":1,"read":1}`)
	reader.want(entry(1, 1), head(1))

	writer := h.dial()
	writer.send(tokenLine("write"), `{"id":"3","entry":{"n":3}}`)
	writer.want(ack(3, 2))
	for _, read := range []string{`{"from":1}`, `{"from":1,"read":1}`} {
		writer.send(read)
		writer.want(`{"error":"unauthorized: this token may not read"}`)
	}
	// It is told what the server supports for writes, but nothing about the log.
	writer.send(`{"stat":true}`)
	line := writer.line()
	if !strings.HasPrefix(line, `{"stat":{"rights":"write","features":[`) || !strings.Contains(line, `"max_batch":`) || strings.Contains(line, `"head"`) {
		t.Errorf("a peer that may only write gets the status %s", line)
	}
	writer.send(`{"id":"4","entry":{"n":4}}`)
	writer.want(ack(4, 3))

	// A second token is not a valid message.
	writer.send(tokenLine("both"))
	writer.want(`{"error":"invalid message: a token is accepted only as the first message"}`)
	writer.send(`{"from":1}`)
	writer.want(`{"error":"unauthorized: this token may not read"}`)
}

func TestTokenNobodyAskedFor(t *testing.T) {
	h := start(t, openMemory(t), Config{})
	c := h.dial()
	c.send(tokenLine("any"), `{"id":"1","entry":{"n":1}}`)
	c.want(ack(1, 1))
	c.send(tokenLine("any"))
	c.want(`{"error":"invalid message: a token is accepted only as the first message"}`)
}

// TestStatUnset: a server without Config.Stat answers with what its log knows.
func TestStatUnset(t *testing.T) {
	h := start(t, openMemory(t), Config{MaxEntry: 5000})
	c := h.dial()
	c.send(`{"stat":true}`)
	status := func(head int) string {
		features, _ := json.Marshal(Features())
		return fmt.Sprintf(`{"stat":{"head":%d,"features":%s,"max_entry":5000,"max_batch":5000}}`, head, features)
	}
	c.want(status(0))
	c.send(`{"id":"1","entry":[]}`)
	c.want(ack(1, 1))
	c.send(`{"stat":true}`)
	c.want(status(1))
}

func TestReauthorize(t *testing.T) {
	noLeaks(t)
	var gone atomic.Bool
	h := start(t, openMemory(t), Config{Tokens: func(hash [32]byte) (string, Rights) {
		name, rights := guests(hash)
		if name == "read" && gone.Load() {
			rights = Rights{}
		}
		return name, rights
	}})
	stays, goes := h.dial(), h.dial()
	stays.send(tokenLine("both"), `{"from":1}`)
	stays.want(current)
	goes.send(tokenLine("read"), `{"from":1}`)
	goes.want(current)
	h.Reauthorize()
	stays.send(`{"id":"1","entry":{"n":1}}`)
	stays.want(ack(1, 1), entry(1, 1))
	goes.want(entry(1, 1))
	gone.Store(true)
	h.Reauthorize()
	goes.wantEnd()
	stays.send(`{"id":"2","entry":{"n":2}}`)
	stays.want(ack(2, 2), entry(2, 2))
}

// TestAuthTime: a client that does not authenticate in time is disconnected.
func TestAuthTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := engine.Open(engine.NewConfig(engine.Memory))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		s := New(log, Config{Tokens: guests})
		ours, theirs := net.Pipe()
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			s.ServeConn(theirs)
			close(ended)
		}()
		ours.Write([]byte(`{"token":`))
		<-ended
		if took := time.Since(began); took != authTime {
			t.Errorf("the connection was held for %v, want %v", took, authTime)
		}
	})
}

func TestShutdownBeforeTheToken(t *testing.T) {
	noLeaks(t)
	h := start(t, openMemory(t), Config{Tokens: guests})
	c := h.dial()
	c.write(`{"tok`)
	poll(t, "the connection", func() bool { return h.Connections() == 1 })
	h.shutdown()
	if rest, _ := io.ReadAll(c.r); len(rest) > 0 {
		t.Errorf("got %q, want nothing", rest)
	}
}

func TestTLS(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key, ClientCA: authority.Path, Optional: true})
	if err != nil {
		t.Fatal(err)
	}
	log := openDisk(t)
	fill(t, log, 5000, 2000) // more than any buffer holds
	h := start(t, log, Config{TLS: certificates.Config(), Tokens: guests})
	dial := func(config *tls.Config) *client {
		nc, err := tls.Dial("tcp", h.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, nc)
	}

	certified := dial(authority.Client(t, cert, key))
	certified.send(`{"id":"1","entry":{"n":1}}`)
	certified.want(ack(1, 5001))
	certified.send(`{"from":1,"read":5000}`)
	for n := 1; n <= 5000; n++ {
		if want := fmt.Sprintf(`{"index":%d,"entry":{"n":%d,`, n, n); !strings.HasPrefix(certified.line(), want) {
			t.Fatalf("line %d does not begin with %s", n, want)
		}
	}
	certified.want(head(5001))

	// Without a certificate it takes a token, on the same port.
	stranger := dial(authority.Client(t, "", ""))
	stranger.send(`{"from":1,"read":1}`)
	stranger.want(unauthorized)
	stranger.wantEnd()
	guest := dial(authority.Client(t, "", ""))
	guest.send(tokenLine("write"), `{"id":"2","entry":{"n":2}}`)
	guest.want(ack(2, 5002))

	// And a client without TLS is not served.
	plain := h.dial()
	plain.send(tokenLine("both"))
	rest, _ := io.ReadAll(plain.r)
	if strings.Contains(string(rest), "index") || strings.Contains(string(rest), "head") {
		t.Errorf("without TLS the server answers %q", rest)
	}
}
