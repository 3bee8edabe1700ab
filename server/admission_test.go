package server

import (
	"context"
	"crypto/sha256"
	"net"
	"sync/atomic"
	"testing"
)

// TestUnknownPeersKeepNobodyOut: peers that send nothing cannot keep out those that have a
// token, and do not cut off those that have sent one.
func TestUnknownPeersKeepNobodyOut(t *testing.T) {
	noLeaks(t)
	const places = 20
	h := start(t, openMemory(t), Config{Tokens: guests, MaxConnections: places})
	first := h.dial()
	first.send(tokenLine("both"), `{"id":"1","entry":{"n":1}}`)
	first.want(ack(1, 1))
	var silent []*client
	for range 2 * places {
		silent = append(silent, h.dial())
	}
	index := 1
	for n := range places - 1 { // as many as there are places
		c := h.dial()
		c.send(tokenLine("both"))
		index++
		c.append(n, 1)
		c.want(ack(n, index))
		silent = append(silent, h.dial()) // and others come meanwhile
	}
	silent[0].wantEnd() // the oldest went first
	index++
	first.append(index, 1)
	first.want(ack(index, index))
	full := h.dial()
	full.want(`{"error":"too many connections"}`)
	if n := h.Connections(); n != places {
		t.Errorf("there are %d connections, want %d", n, places)
	}
}

// TestTokenRevokedWhilePresented: a token that is revoked between its lookup and its use
// does not admit the peer.
func TestTokenRevokedWhilePresented(t *testing.T) {
	noLeaks(t)
	var revoked atomic.Bool
	looking, goOn := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	s := New(openMemory(t), Config{Tokens: func(hash [32]byte) (string, Rights) {
		if revoked.Load() || hash != sha256.Sum256([]byte("both")) {
			return "", Rights{}
		}
		if once.CompareAndSwap(false, true) { // the lookup has its answer but has not returned it
			close(looking)
			<-goOn
		}
		return "both", Rights{Read: true, Write: true}
	}})
	defer s.Shutdown(context.Background())
	ours, theirs := net.Pipe()
	go s.ServeConn(theirs)
	c := newClient(t, ours)
	c.send(tokenLine("both"))
	<-looking
	revoked.Store(true)
	s.Reauthorize()
	close(goOn)
	c.want(unauthorized)
	c.wantEnd()
}
