package client_test

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/internal/access/accesstest"
	"tcp-log-server/server"
)

// tokens admits three tokens, each with the rights that it names.
func tokens(hash [32]byte) (string, server.Rights) {
	for token, rights := range map[string]server.Rights{"read": {Read: true}, "write": {Write: true}, "both": {Read: true, Write: true}} {
		if hash == sha256.Sum256([]byte(token)) {
			return token, rights
		}
	}
	return "", server.Rights{}
}

func TestTokens(t *testing.T) {
	noLeaks(t)
	h := serveWith(t, server.Config{Tokens: tokens})
	for _, tt := range []struct {
		token       string
		append      error // outcome of an append
		appendCause error
		read        error
	}{
		{"both", nil, nil, nil},
		{"write", nil, nil, client.ErrServer},
		{"read", client.ErrRefused, nil, nil},
		{"wrong", client.ErrRefused, client.ErrUnauthorized, client.ErrUnauthorized},
		{"", client.ErrRefused, client.ErrUnauthorized, client.ErrUnauthorized},
	} {
		t.Run(tt.token, func(t *testing.T) {
			c := dial(t, h.addr, client.Options{Token: tt.token})
			_, err := c.Append(patient(t), []byte("{}"))
			if errors.Is(err, client.ErrNotSent) && tt.appendCause != nil {
				outcome(t, err, client.ErrNotSent) // the answer to the token arrived before
			} else {
				outcome(t, err, tt.append)
			}
			if tt.appendCause != nil && !errors.Is(err, tt.appendCause) {
				t.Errorf("append: %v, want %v", err, tt.appendCause)
			}
			for _, err := range c.Read(patient(t), 1, 1) {
				if !errors.Is(err, tt.read) {
					t.Errorf("read: %v, want %v", err, tt.read)
				}
			}
			if tt.read != nil { // it does not try this forever
				for _, err := range c.Follow(patient(t), 1) {
					if !errors.Is(err, tt.read) {
						t.Errorf("follow: %v, want %v", err, tt.read)
					}
				}
			}
		})
	}
}

// TestTokenIgnored: a server without tokens ignores one.
func TestTokenIgnored(t *testing.T) {
	noLeaks(t)
	c := dial(t, serve(t).addr, client.Options{Token: "any\n\"thing"})
	fill(t, c, 1, 2)
	expect(t, "read", collect(c.Read(patient(t), 1, 0)), `1 {"n":1}`, `2 {"n":2}`)
}

func TestTLS(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	later := time.Now().Add(time.Hour)
	cert, key := authority.Issue(t, "server", later)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clientCert, clientKey := authority.Issue(t, "alice", later)
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	open := serveWith(t, server.Config{TLS: config})
	mutual := config.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, authority.Client(t, "", "").RootCAs
	closed := serveWith(t, server.Config{TLS: mutual})

	for _, tt := range []struct {
		name   string
		addr   string
		config *tls.Config
	}{
		{"trusted", open.addr, authority.Client(t, "", "")},
		{"with a certificate", closed.addr, authority.Client(t, clientCert, clientKey)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, tt.addr, client.Options{TLS: tt.config})
			expect(t, "read", collect(c.Read(patient(t), 1, 1))) // Dial's connection
			fill(t, c, 1, 500)                                   // another
			next := uint64(1)
			for e, err := range c.Follow(patient(t), 1) {
				if err != nil || e.Index != next {
					t.Fatalf("entry %d, error %v, want entry %d", e.Index, err, next)
				}
				if next++; next > 500 {
					break
				}
			}
			if head, err := c.Head(patient(t)); head != 500 || err != nil {
				t.Errorf("the head is %d, error %v", head, err)
			}
		})
	}

	if _, err := client.Dial(patient(t), open.addr, client.Options{TLS: accesstest.NewAuthority(t).Client(t, "", "")}); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a server that is not trusted: %v", err)
	}
	// That a certificate is required becomes known when the first answer is read.
	c := dial(t, closed.addr, client.Options{TLS: authority.Client(t, "", "")})
	_, err = c.Append(patient(t), []byte("{}"))
	switch {
	case err == nil:
		t.Error("an append without a certificate is stored")
	case !errors.Is(err, client.ErrUnauthorized):
		t.Logf("without a certificate: %v", err) // the alert may be lost with the connection
	case errors.Is(err, client.ErrUnknown):
		t.Errorf("without a certificate: %v, want that it is not stored", err)
	}
	if head, err := dial(t, closed.addr, client.Options{TLS: authority.Client(t, clientCert, clientKey)}).Head(patient(t)); head != 500 {
		t.Errorf("the head is %d, error %v, want 500", head, err)
	}
}

// TestConnect: a connection from Connect is admitted like a Client's.
func TestConnect(t *testing.T) {
	noLeaks(t)
	h := serveWith(t, server.Config{Tokens: tokens})
	for token, want := range map[string]string{"read": `{"current":true}`, "wrong": `{"error":"unauthorized"}`} {
		nc, err := client.Connect(t.Context(), h.addr, client.Options{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte(`{"from":1,"read":1}` + "\n")); err != nil {
			t.Fatal(err)
		}
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if line, err := bufio.NewReader(nc).ReadString('\n'); strings.TrimSpace(line) != want {
			t.Errorf("with the token %s the answer is %q, %v, want %s", token, line, err, want)
		}
	}
}
