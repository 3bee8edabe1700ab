package web

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A talk is one request as the connection of a conversation: see server.Server.Converse. What
// is read from it comes from the request; what is written to it becomes the answer. When
// Converse has returned, nothing touches the request any more.
//
// Deadlines are kept here instead of in net/http: there, one for writing ends an HTTP/2 stream
// though nobody writes, and one for reading makes an idle request look abandoned. Only what
// is stuck is given a deadline, in the past, and never works again.
type talk struct {
	request *http.Request
	control *http.ResponseController
	source  source
	answer  func(lines []byte) error
	idle    func() error  // if not nil, is called when nothing has been written for idleTime
	ended   chan struct{} // closed when a question is not to wait any more

	out sync.Mutex // held by whoever writes the answer

	mu          sync.Mutex
	closed      bool
	interrupted bool          // by a deadline for reading
	late        bool          // a write was cut short by the deadline
	receiving   bool          // the source is being read
	sending     bool          // the answer is being written
	wrote       bool          // since the last idleTime
	limit       *time.Timer   // fires at the deadline for writing; nil until there is one
	deadline    time.Time     // that deadline, or zero
	patience    time.Duration // how far away it was when it was set
}

// source is where the input of a talk comes from.
type source interface {
	// read reads as an io.Reader does. If it waits for more than the client, that ends with t.
	read(t *talk, b []byte) (int, error)
	// stuck reports whether a read has to be woken by a deadline of net/http.
	stuck() bool
}

// newQuestion returns a talk whose input is one line. If follow is set the input then stays
// open until the client leaves. answer writes lines to the client; it is called from one
// goroutine at a time, and may get any part of a line.
func newQuestion(w http.ResponseWriter, r *http.Request, line string, follow bool, answer func(lines []byte) error) *talk {
	return newTalk(w, r, &question{line, follow}, answer)
}

// newUpload returns a talk whose input is the request's body, which is read through body.
func newUpload(w http.ResponseWriter, r *http.Request, body io.Reader, answer func(lines []byte) error) *talk {
	t := newTalk(w, r, upload{body}, answer)
	t.control.EnableFullDuplex() // an error means that it is on
	return t
}

func newTalk(w http.ResponseWriter, r *http.Request, from source, answer func(lines []byte) error) *talk {
	return &talk{request: r, control: http.NewResponseController(w), source: from, answer: answer, ended: make(chan struct{})}
}

// idleTime is how long nothing is written before idle is called. Tests change it.
var idleTime = 15 * time.Second

// question is a line as the input.
type question struct {
	line   string
	follow bool
}

func (q *question) stuck() bool { return false }

func (q *question) read(t *talk, b []byte) (n int, err error) {
	if q.line != "" {
		n = copy(b, q.line)
		q.line = q.line[n:]
		return n, nil
	}
	if !q.follow {
		return 0, io.EOF
	}
	var quiet <-chan time.Time
	if t.idle != nil {
		tick := time.NewTicker(idleTime)
		defer tick.Stop()
		quiet = tick.C
	}
	for {
		select {
		case <-quiet:
			if err := t.tell(); err != nil {
				return 0, err
			}
		case <-t.ended:
			return 0, errEnded
		case <-t.request.Context().Done():
			return 0, t.request.Context().Err()
		}
	}
}

// errEnded ends the wait of a question for input; Read says why.
var errEnded = errors.New("ended")

// upload is the request's body as the input. Only io.EOF is its end: a body that breaks off
// ends in another error.
type upload struct{ body io.Reader }

func (upload) stuck() bool { return true }

func (u upload) read(_ *talk, b []byte) (n int, err error) { return u.body.Read(b) }

// Read reads the input. It returns os.ErrDeadlineExceeded after a deadline, also with the last
// bytes, which count. A question's client that has left makes it return context.Canceled.
func (t *talk) Read(b []byte) (n int, err error) {
	t.mu.Lock()
	err = t.over()
	t.receiving = err == nil
	t.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err = t.source.read(t, b)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.receiving = false
	switch over := t.over(); {
	case over != nil && err != nil && err != io.EOF:
		err = over
	case err == errEnded:
		err = io.EOF
	}
	return n, err
}

// endInput ends the input of a question, as its answer is whole.
func (t *talk) endInput() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end()
}

// end ends a wait of a question for input. The caller holds mu.
func (t *talk) end() {
	select {
	case <-t.ended:
	default:
		close(t.ended)
	}
}

// over says why nothing more is to be read. The caller holds mu.
func (t *talk) over() error {
	switch {
	case t.closed:
		return net.ErrClosed
	case t.interrupted:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Write answers with b. After an error there is nothing to go on from.
func (t *talk) Write(b []byte) (n int, err error) {
	t.out.Lock()
	defer t.out.Unlock()
	if err := t.send(func() error { return t.answer(b) }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send has write write to the client. The caller holds out.
func (t *talk) send(write func() error) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return net.ErrClosed
	}
	if t.expired() { // the timer has fired, and would not end a write that begins now
		t.mu.Unlock()
		return os.ErrDeadlineExceeded
	}
	t.sending, t.wrote = true, true
	t.mu.Unlock()
	err := write()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sending = false
	if err != nil && t.late {
		return os.ErrDeadlineExceeded
	}
	return err
}

// tell calls idle unless something has been written of late, or is being written.
func (t *talk) tell() error {
	if !t.out.TryLock() {
		return nil
	}
	defer t.out.Unlock()
	t.mu.Lock()
	wrote, patience := t.wrote, t.patience
	t.wrote = false
	t.mu.Unlock()
	if wrote || patience == 0 { // which is 0 before the first write
		return nil
	}
	t.SetWriteDeadline(time.Now().Add(patience))
	err := t.send(t.idle)
	t.mu.Lock()
	t.wrote = false
	t.mu.Unlock()
	return err
}

// Close ends the talk, and whatever waits in it.
func (t *talk) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.interrupt()
	if t.limit != nil {
		t.limit.Stop()
	}
	if t.sending { // and perhaps about to return: after a deadline the client could not be told why it ends
		time.AfterFunc(closeTime, t.cutShort)
	}
	return nil
}

// closeTime is how long a write may take that is under way when a talk is closed.
const closeTime = 100 * time.Millisecond

// cutShort ends a write that is under way.
func (t *talk) cutShort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sending {
		t.late = true
		t.control.SetWriteDeadline(past)
	}
}

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

// interrupt ends the input. The caller holds mu.
func (t *talk) interrupt() {
	t.interrupted = true
	t.end()
	if t.receiving && t.source.stuck() {
		t.control.SetReadDeadline(past)
	}
}

// SetReadDeadline ends the input if at is in the past. A server sets no other deadline for
// reading from a conversation.
func (t *talk) SetReadDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed && !at.IsZero() && !at.After(time.Now()) {
		t.interrupt()
	}
	return nil
}

// SetWriteDeadline bounds the writes that follow and one that is under way.
func (t *talk) SetWriteDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	t.deadline, t.patience = at, time.Until(at)
	switch {
	case at.IsZero():
		t.patience = 0
		if t.limit != nil {
			t.limit.Stop()
		}
	case t.limit == nil:
		t.limit = time.AfterFunc(t.patience, t.expire)
	default:
		t.limit.Reset(t.patience)
	}
	return nil
}

// expire cuts a write short that is under way at the deadline.
func (t *talk) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed && t.sending && t.expired() {
		t.late = true
		t.control.SetWriteDeadline(past)
	}
}

// expired reports whether the deadline for writing has passed. The caller holds mu.
func (t *talk) expired() bool { return !t.deadline.IsZero() && !time.Now().Before(t.deadline) }

// finish bounds what net/http has yet to write of the answer. Call it after Converse.
func (t *talk) finish() {
	if t.patience > 0 && !t.late {
		t.control.SetWriteDeadline(time.Now().Add(t.patience))
	}
}

// SetDeadline sets both deadlines.
func (t *talk) SetDeadline(at time.Time) error {
	t.SetReadDeadline(at)
	return t.SetWriteDeadline(at)
}

// LocalAddr returns the address that the client has connected to, nil if that is not known.
func (t *talk) LocalAddr() net.Addr {
	addr, _ := t.request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return addr
}

// RemoteAddr returns the client's address, which is the zero address if it is not one of IP.
func (t *talk) RemoteAddr() net.Addr {
	addr, _ := netip.ParseAddrPort(t.request.RemoteAddr)
	return net.TCPAddrFromAddrPort(addr)
}
