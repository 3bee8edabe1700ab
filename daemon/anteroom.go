package daemon

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"
)

// An anteroom accepts connections while the log is not open. A cluster's log may take forever to open: it
// waits for other machines. So a connection waits here for as long as an append would, GIVE_UP, and is
// then told why nothing is stored.
type anteroom struct {
	ln       *net.TCPListener
	patience time.Duration
	why      func() string
	tls      *tls.Config // nil without TLS
	running  sync.WaitGroup

	mu      sync.Mutex
	left    bool
	guests  []net.Conn               // in order of arrival
	timers  map[net.Conn]*time.Timer // when each guest is told
	talking map[net.Conn]struct{}    // those being told
}

const (
	// guestsMax limits both the connections that wait and those that are being told. Beyond it,
	// connections are told at once, or closed.
	guestsMax = 1000
	// tellTime is how long a connection has, after waiting, to say what it wants.
	tellTime = 10 * time.Second
	// tellLine is the longest line whose id is repeated in the answer.
	tellLine = 64 << 10
)

// newAnteroom accepts connections of ln from now on.
func newAnteroom(ln *net.TCPListener, patience time.Duration, tls *tls.Config, why func() string) *anteroom {
	a := &anteroom{
		ln: ln, patience: patience, why: why, tls: tls,
		timers: make(map[net.Conn]*time.Timer), talking: make(map[net.Conn]struct{}),
	}
	a.running.Go(a.receive)
	return a
}

func (a *anteroom) receive() {
	for {
		c, err := a.ln.Accept()
		a.mu.Lock()
		switch {
		case a.left && err == nil:
			a.guests = append(a.guests, c)
		case err != nil && a.left:
			a.mu.Unlock()
			return
		case err == nil:
			wait := a.patience
			if len(a.guests) >= guestsMax {
				wait = 0
			}
			a.guests = append(a.guests, c)
			a.timers[c] = time.AfterFunc(wait, func() { a.turnAway(c) })
		}
		a.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // too many open files, for a while
		}
	}
}

// leave ends the anteroom. It returns a listener that yields the waiting connections, and then those of
// ln.
func (a *anteroom) leave() net.Listener {
	a.mu.Lock()
	a.left = true
	for _, timer := range a.timers {
		timer.Stop()
	}
	for c := range a.talking {
		c.Close()
	}
	a.mu.Unlock()
	a.ln.SetDeadline(time.Unix(1, 0))
	a.running.Wait()
	a.ln.SetDeadline(time.Time{})
	return &admitted{Listener: a.ln, first: a.guests}
}

// close ends the anteroom and closes the waiting connections.
func (a *anteroom) close() {
	l := a.leave().(*admitted)
	for _, c := range l.first {
		c.Close()
	}
}

// turnAway tells a connection why it waits, and closes it.
func (a *anteroom) turnAway(c net.Conn) {
	a.mu.Lock()
	if a.left {
		a.mu.Unlock()
		return
	}
	delete(a.timers, c)
	for i, other := range a.guests {
		if other == c {
			a.guests = append(a.guests[:i:i], a.guests[i+1:]...)
			break
		}
	}
	if len(a.talking) >= guestsMax {
		a.mu.Unlock()
		c.Close()
		return
	}
	a.talking[c] = struct{}{}
	a.running.Add(1)
	a.mu.Unlock()
	defer a.running.Done()
	a.tell(c)
	c.Close()
	a.mu.Lock()
	delete(a.talking, c)
	a.mu.Unlock()
}

// tell answers the lines that a client has sent.
func (a *anteroom) tell(c net.Conn) {
	c.SetDeadline(time.Now().Add(tellTime))
	var talk io.ReadWriter = c
	if a.tls != nil {
		talk = tls.Server(c, a.tls)
	}
	lines := bufio.NewReaderSize(talk, tellLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) == 0 {
			return
		}
		answer := told(line, a.why())
		if _, werr := talk.Write(answer); werr != nil || err != nil && err != bufio.ErrBufferFull {
			return
		}
		if lines.Buffered() == 0 {
			break
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok { // otherwise data still on its way could destroy the answer
		tcp.CloseWrite()
		tcp.SetReadDeadline(time.Now().Add(time.Second))
		io.Copy(io.Discard, tcp)
	}
}

// told returns the answer to a client's line, nil if it needs none.
func told(line []byte, why string) []byte {
	var asked struct {
		ID             json.RawMessage
		Token          string
		Entry, Entries json.RawMessage
	}
	if err := json.Unmarshal(line, &asked); err == nil && asked.Token != "" && asked.ID == nil {
		return nil
	}
	type answer struct {
		ID    json.RawMessage `json:"id,omitempty"`
		Error string          `json:"error"`
	}
	text := "not available now: "
	if asked.Entry != nil || asked.Entries != nil {
		text = "not stored: "
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(answer{asked.ID, text + "the server starts: " + why})
	return b.Bytes()
}

// admitted is a listener whose first connections have already arrived.
type admitted struct {
	net.Listener
	mu    sync.Mutex
	first []net.Conn
}

func (l *admitted) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.first) > 0 {
		c := l.first[0]
		l.first = l.first[1:]
		l.mu.Unlock()
		return c, nil
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

// Close also closes the connections that have not been accepted.
func (l *admitted) Close() error {
	l.mu.Lock()
	for _, c := range l.first {
		c.Close()
	}
	l.first = nil
	l.mu.Unlock()
	return l.Listener.Close()
}
