package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
)

// TestStatsOfAConversation: after known work the counts match that work: the bytes of both
// directions, and each error under its own kind.
func TestStatsOfAConversation(t *testing.T) {
	noLeaks(t)
	var acks atomic.Int64
	h := start(t, openMemory(t), Config{MaxConnections: 1, OnAck: func(took time.Duration) {
		if took <= 0 || took > patience {
			t.Errorf("an acknowledgement took %v", took)
		}
		acks.Add(1)
	}})
	c := h.dial()
	requests := []string{
		`{"id":"1","entry":{"n":1}}`,
		`{"id":"2","entry":{"n":2,"n":2}}`, // a member twice
		`{"id":"3","entry":{"n":3}}`,
	}
	c.send(requests...)
	replies := []string{c.line(), c.line(), c.line()}
	if replies[0] != ack(1, 1) || !strings.Contains(replies[1], "not stored") || replies[2] != ack(3, 2) {
		t.Fatalf("the replies are %q", replies)
	}
	c.send(`[]`)
	replies = append(replies, notObject)
	c.want(replies[3])
	full := h.dial() // one too many
	full.want(`{"error":"too many connections"}`)
	full.wantEnd()

	received := uint64(len(strings.Join(requests, "\n")) + 1 + len("[]\n"))
	sent := uint64(len(strings.Join(replies, "\n")) + 1)
	poll(t, "the bytes sent to be counted", func() bool { return h.Stats().Sent >= sent })
	want := Stats{
		Connections: 1, MaxConnections: 1, Accepted: 1, Received: received, Sent: sent,
		Errors: Errors{Invalid: 1, Refused: 1, Connections: 1},
	}
	if got := h.Stats(); got != want {
		t.Errorf("stats are\n%+v, want\n%+v", got, want)
	}
	if got := acks.Load(); got != 1 {
		t.Errorf("OnAck was told %d times of the writes that came together, want once", got)
	}
	c.write("nonsense\n")
	c.want(`{"error":"invalid JSON"}`)
	c.wantEnd()
	if got := h.Stats().Errors.Invalid; got != 2 {
		t.Errorf("%d invalid lines are counted, want 2", got)
	}
}

// TestStatsOfRefusals: refused entries are counted, and so are requests without
// the right.
func TestStatsOfRefusals(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	h := start(t, log, Config{OnAck: func(time.Duration) { t.Error("OnAck was told of what was not stored") }})
	log.hold()
	c := h.dial()
	c.append(1, 5)
	log.wait(t, 5)
	log.release(errors.New("not stored: no room"))
	for range 5 {
		if line := c.line(); !strings.Contains(line, "no room") {
			t.Fatalf("reply is %s", line)
		}
	}
	poll(t, "5 entries that were not stored", func() bool { return h.Stats().Errors == Errors{Unstored: 5} })

	guarded := start(t, newFakeLog(), Config{Tokens: guests})
	c = guarded.dial()
	c.send(tokenLine("nobody"))
	c.want(unauthorized)
	c.wantEnd()
	c = guarded.dial()
	c.send(tokenLine("write"), `{"from":1}`)
	if line := c.line(); !strings.Contains(line, "may not read") {
		t.Fatalf("the answer to a read is %s", line)
	}
	if got, want := guarded.Stats().Errors, (Errors{Unauthorized: 2}); got != want {
		t.Errorf("errors are %+v, want %+v", got, want)
	}
}

// TestStatsOfReaders: the lag of a reader that receives nothing is the number of entries
// that it has not been sent; that of a reader at the head is 0. Readers that left do not
// count.
func TestStatsOfReaders(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	const entries = 20_000
	fill(t, log, entries, 1000)
	h := start(t, log, Config{})
	count := func(replays, followers int) func() bool {
		return func() bool { s := h.Stats(); return s.Replays == replays && s.Followers == followers }
	}
	follower := h.dial()
	follower.send(fmt.Sprintf(`{"from":%d}`, entries+1))
	follower.want(current)
	received := len(current) + 1
	poll(t, "a follower", count(0, 1))
	if s := h.Stats(); s.Behind != 0 || s.MostBehind != 0 {
		t.Errorf("stats are %+v with a follower at the head", s)
	}
	slow := h.dial()
	slow.send(fmt.Sprintf(`{"from":1001,"read":%d}`, entries-2000))
	received += len(slow.line()) + 1
	poll(t, "a replay", count(1, 1))
	// The sockets' buffers take a few megabytes of 18, and then no more.
	poll(t, "a reader that has got something and is behind", func() bool {
		s := h.Stats()
		return s.Behind == s.MostBehind && s.Behind > entries/10 && s.Behind < entries-2000
	})
	for range entries - 2001 {
		received += len(slow.line()) + 1
	}
	received += len(slow.line()) + 1 // {"head":…}
	poll(t, "as many bytes sent as have come", func() bool { return h.Stats().Sent == uint64(received) })
	poll(t, "the replay's end", count(0, 1))
	slow.nc.Close()
	follower.nc.Close()
	poll(t, "no readers", count(0, 0))
	if s := h.Stats(); s.Behind != 0 || s.MostBehind != 0 {
		t.Errorf("stats are %+v without readers", s)
	}
}

// TestStatsOfTheCache: of three followers one reads the new entries, and two find them in
// the cache; an unreadable entry is counted once for each read.
func TestStatsOfTheCache(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.unreadable = map[uint64]error{2: errors.New("damaged"), 3: errors.New("damaged")}
	h := start(t, log, Config{})
	log.put(t, "[1]", "[2]")
	var followers []*client
	for range 3 {
		c := h.dial()
		c.send(`{"from":1}`)
		c.want(`{"index":1,"entry":[1]}`, `{"index":2,"error":"damaged"}`, current)
		followers = append(followers, c)
	}
	if s := h.Stats(); s.Errors.Damaged != 3 || s.Hits+s.Misses != 0 {
		t.Errorf("stats are %+v after three replays of a damaged entry", s)
	}
	log.put(t, "[3]")
	for _, c := range followers {
		c.want(`{"index":3,"error":"damaged"}`)
	}
	line := int64(len(`{"index":3,"error":"damaged"}`+"\n") + 16) // plus its time
	if s := h.Stats(); s.Misses != 1 || s.Hits != 2 || s.CacheBytes != line || s.Errors.Damaged != 4 {
		t.Errorf("stats are %+v, want 1 miss, 2 hits, %d bytes and 4 damaged", s, line)
	}
	for _, c := range followers {
		c.nc.Close()
	}
	poll(t, "an empty cache", func() bool { return h.Stats().CacheBytes == 0 })
}

// TestStatsUnderTLS: the bytes are those on the socket, including records and handshake.
func TestStatsUnderTLS(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, openFake(t), Config{TLS: certificates.Config()})
	raw, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	tapped := &tap{Conn: raw}
	secure := tls.Client(tapped, authority.Client(t, "", ""))
	secure.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(secure, `{"id":"1","entry":{"n":1}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(secure, make([]byte, len(ack(1, 1))+1)); err != nil {
		t.Fatal(err)
	}
	poll(t, "as many bytes as have passed", func() bool {
		s := h.Stats()
		return s.Received == tapped.out && s.Sent == tapped.in
	})
}

// tap counts what passes through a connection.
type tap struct {
	net.Conn
	in, out uint64
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in += uint64(n)
	return n, err
}

func (c *tap) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out += uint64(n)
	return n, err
}
