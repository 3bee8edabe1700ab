package server

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"tcp-log-server/server/internal/gather"
)

// handOffAtOnce makes every connection be handed off after one read.
func handOffAtOnce(t *testing.T) {
	t.Helper()
	was := handOffAfter
	handOffAfter = 1
	t.Cleanup(func() { handOffAfter = was })
}

// waitHandedOff waits until the gatherers have n connections.
func (h *host) waitHandedOff(n int) {
	h.t.Helper()
	poll(h.t, fmt.Sprintf("%d connections to be handed off", n), func() bool { return h.gather.Len() == n })
}

// dialHandedOff makes n connections, each of which has appended and is handed off.
func (h *host) dialHandedOff(n int) (clients []*client) {
	h.t.Helper()
	for range n {
		c := h.dial()
		c.append(1, 1)
		c.line()
		clients = append(clients, c)
	}
	h.waitHandedOff(n)
	return clients
}

// TestAllHandedOff: a reader works the same if it hands off its connection whenever it
// can.
func TestAllHandedOff(t *testing.T) {
	skipWithoutGatherer(t)
	handOffAtOnce(t)
	for name, test := range map[string]func(*testing.T){
		"Lines":                         TestLines,
		"Transcripts":                   TestTranscripts,
		"HalfCloseWithPendingWrites":    TestHalfCloseWithPendingWrites,
		"InvalidJSON":                   TestInvalidJSONAfterAcceptedWrites,
		"InvalidJSONWaitsForTheAcks":    TestInvalidJSONWaitsForTheAcks,
		"MaxConnections":                TestMaxConnections,
		"ShutdownAcknowledges":          TestShutdownAcknowledgesWhatWasAccepted,
		"ShutdownInTheMiddle":           TestShutdownInTheMiddleOfWrites,
		"ShutdownCuts":                  TestShutdownCutsWhatDoesNotEnd,
		"LineLimit":                     TestLineLimit,
		"Rights":                        TestRights,
		"Reauthorize":                   TestReauthorize,
		"WriteJustBeforeARead":          TestWriteJustBeforeARead,
		"WriteThatArrivesWithARead":     TestWriteThatArrivesWithARead,
		"InIndexOrderWhileFollowing":    TestAcksAndEntriesInIndexOrderWhileFollowing,
		"RefusalsWhileFollowing":        TestRefusalsWhileFollowing,
		"OtherWritersMixIn":             TestOtherWritersMixIn,
		"AckDuringAReplay":              TestAckDuringAReplay,
		"StatsOfAConversation":          TestStatsOfAConversation,
		"StatsOfRefusals":               TestStatsOfRefusals,
		"RepliesInOrder":                TestRepliesComeInTheOrderOfTheWrites,
		"RefusalsWait":                  TestRefusalsWaitForTheWritesBeforeThem,
		"ErrorsOfTheLog":                TestErrorsOfTheLogAnswerEachWriteInOrder,
		"WritersOfManyConnections":      TestWritersOfManyConnections,
		"MaxInFlight":                   TestMaxInFlight,
		"WriteThatFillsAGroup":          TestWriteThatFillsAGroup,
		"FollowersAtDifferentDistances": TestFollowersAtDifferentDistances,
	} {
		t.Run(name, test)
	}
}

func skipWithoutGatherer(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("connections are not handed off on this system")
	}
}

// TestHandedBack sends input that the gatherer does not handle to a connection that is
// handed off, and then a write again: each is answered as usual.
func TestHandedBack(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	long := strings.Repeat("x", gather.ReadMax)
	for name, tt := range map[string]struct {
		send []string // one write each
		want []string
	}{
		"a line in pieces":    {[]string{`{"id":"2",`, `"entry":{"n"`, ":2}}\n"}, []string{ack(2, 2)}},
		"whole, and a piece":  {[]string{`{"id":"2","entry":{"n":2}}` + "\n" + `{"id":"3"`, `,"entry":{"n":3}}` + "\n"}, []string{ack(2, 2), ack(3, 3)}},
		"blank lines":         {[]string{"\n \t\r\n", "\n"}, nil},
		"a read":              {[]string{`{"from":1,"read":1}` + "\n"}, []string{entry(1, 1), head(1)}},
		"a write and a read":  {[]string{`{"id":"2","entry":{"n":2}}` + "\n" + `{"from":1,"read":1}` + "\n"}, []string{ack(2, 2), entry(1, 1), head(2)}},
		"no message":          {[]string{`{"id":"2","entry":{"n":2}}` + "\n" + "[]\n"}, []string{ack(2, 2), notObject}},
		"a refused entry":     {[]string{`{"id":"2","entry":{"a":1,"a":2}}` + "\n"}, []string{`{"id":"2","error":"not stored: …"}`}},
		"one that is too big": {[]string{`{"id":"2","entry":["` + strings.Repeat("x", 1001) + `"]}` + "\n"}, []string{`{"id":"2","error":"not stored: …"}`}},
		"a line too long":     {[]string{`{"id":"2","entry":"` + long + long + `"}` + "\n"}, []string{`{"id":"2","error":"not stored: …"}`}},
		"white space too long": {[]string{`{"id":"2","entry":{"n":2}` + strings.Repeat(" ", gather.ReadMax-1000) + "}\n"},
			[]string{ack(2, 2)}},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, openFake(t), Config{MaxEntry: 1000})
			c := h.dial()
			c.append(1, 1)
			c.want(ack(1, 1))
			h.waitHandedOff(1)
			for i, s := range tt.send {
				had := h.Stats().Received
				c.write(s)
				if i < len(tt.send)-1 { // so that it arrives separately
					poll(t, "the bytes to be received", func() bool { return h.Stats().Received == had+uint64(len(s)) })
				}
			}
			lines := len(tt.want)
			if name == "a write and a read" {
				// The order, and which head, depends on when the write was stored.
				acked, ended := false, false
				for !acked || !ended {
					switch got := c.line(); got {
					case ack(2, 2):
						acked = true
					case head(1), head(2):
						ended = true
					case current, entry(1, 1):
					default:
						t.Fatalf("got %s", got)
					}
				}
				lines = 0
			}
			for i := range lines {
				got := c.line()
				if want, rest, cut := strings.Cut(tt.want[i], "…"); !strings.HasPrefix(got, want) || cut && !strings.HasSuffix(got, rest) || !cut && got != want {
					t.Fatalf("got %s, want %s", got, tt.want[i])
				}
			}
			head, _ := h.log.Head(t.Context())
			for n := range 3 { // and is handed off again
				c.append(10+n, 1)
				c.want(ack(10+n, int(head)+1+n))
			}
			h.waitHandedOff(1)
		})
	}
}

// TestHandedOffEnds ends connections, and the server, while they are handed off.
func TestHandedOffEnds(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	h := start(t, openFake(t), Config{})
	handedOff := func() *client {
		c := h.dial()
		c.append(1, 1)
		c.line()
		return c
	}
	half, closed, reset, cut, left := handedOff(), handedOff(), handedOff(), handedOff(), handedOff()
	h.waitHandedOff(5)
	half.write(`{"id":"2","entry":{"n":2}}`) // without its newline
	half.half()
	half.want(ack(2, 6))
	half.wantEnd()
	h.waitHandedOff(4)
	closed.nc.Close()
	h.waitHandedOff(3)
	reset.nc.(*net.TCPConn).SetLinger(0)
	reset.nc.Close()
	h.waitHandedOff(2)
	poll(t, "two connections", func() bool { return h.Connections() == 2 })
	h.mu.Lock()
	for c := range h.conns {
		if c.raw.RemoteAddr().String() == cut.nc.LocalAddr().String() {
			c.cut(errStalled)
		}
	}
	h.mu.Unlock()
	h.waitHandedOff(1)
	if b, err := cut.r.ReadByte(); err == nil {
		t.Errorf("got %q on a connection that was cut", b)
	}
	h.shutdown()
	left.wantEnd()
	if n := h.gather.Len(); n > 0 {
		t.Errorf("%d connections are still handed off", n)
	}
}

// TestAlone: a connection that has the gatherer to itself is given back; one of two is
// not.
func TestAlone(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	s := New(openFake(t), Config{})
	s.gather = gather.New(1, nil)
	h := startServer(t, s)
	a := h.dial()
	for n := range handOffAfter + gather.AloneMax - 1 {
		a.append(n, 1)
		a.want(ack(n, n+1))
	}
	h.waitHandedOff(1)
	for n := range 2 {
		a.append(n, 1)
		a.line()
	}
	h.waitHandedOff(0)
	b, c := h.dial(), h.dial()
	for n := range 2 * gather.AloneMax {
		for _, x := range []*client{b, c} {
			x.append(n, 1)
			x.line()
		}
	}
	h.waitHandedOff(2)
}

// TestGathererTakesNoTime: while the log commits, input on other connections is read and
// waits for the next batch.
func TestGathererTakesNoTime(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	log := newFakeLog()
	h := start(t, log, Config{})
	clients := h.dialHandedOff(8)
	log.hold()
	for n, c := range clients {
		for i := range 3 {
			c.append(2+i, 1)
			log.wait(t, 3*n+i+1)
		}
	}
	if n := log.submitted.Load(); n != 3*8 {
		t.Errorf("%d appends came by Submit, want %d: Append may take the time of a sync", n, 3*8)
	}
	log.open()
	for _, c := range clients {
		for i := range 3 {
			c.nc.SetReadDeadline(time.Now().Add(patience))
			if got, want := c.line(), fmt.Sprintf(`{"id":"%d",`, 2+i); !strings.HasPrefix(got, want) {
				t.Errorf("got %s, want %s…", got, want)
			}
		}
	}
}

// TestGathererInFlight: writes submitted by gatherers count among the bytes in flight, and
// those that find no room are submitted once there is some.
func TestGathererInFlight(t *testing.T) {
	skipWithoutGatherer(t)
	noLeaks(t)
	handOffAtOnce(t)
	log := newFakeLog()
	h := start(t, log, Config{MaxInFlight: 1000})
	entry := `{"pad":"` + strings.Repeat("x", 290) + `"}`
	clients := h.dialHandedOff(8)
	log.hold()
	had := h.Stats().Received
	line := `{"id":"2","entry":` + entry + "}\n"
	for _, c := range clients {
		c.write(line)
	}
	poll(t, "all to be received", func() bool { return h.Stats().Received == had+uint64(len(clients)*len(line)) })
	log.mu.Lock()
	waiting := len(log.waiting)
	log.mu.Unlock()
	if waiting > 3 {
		t.Errorf("%d entries of 300 bytes are under way, want 3 at most", waiting)
	}
	log.open()
	for _, c := range clients {
		if got := c.line(); !strings.HasPrefix(got, `{"id":"2","index":`) {
			t.Errorf("got %s", got)
		}
	}
}
