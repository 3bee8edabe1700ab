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

// A talk makes one request look like the connection of a conversation: see server.Server.Converse.
// Reads come from the request; writes become the answer. After Converse has returned, nothing
// touches the request any more.
//
// A talk keeps the deadlines itself. With those of net/http, a write deadline would end an HTTP/2
// stream even if nothing is being written, and a read deadline would make an idle request look
// abandoned. net/http gets a deadline, in the past, only for a call that is stuck, and that
// direction never works again.
type talk struct {
	request *http.Request
	control *http.ResponseController
	source  source
	answer  func(lines []byte) error
	idle    func() error  // unless nil, called when nothing has been written for idleTime
	ended   chan struct{} // closed when a question must stop waiting

	out sync.Mutex // held while writing the answer

	mu          sync.Mutex
	closed      bool
	interrupted bool          // by a read deadline
	late        bool          // the write deadline has ended a write
	receiving   bool          // a read of the source is in progress
	sending     bool          // a write of the answer is in progress
	wrote       bool          // since the last idleTime
	limit       *time.Timer   // fires at the write deadline; nil before the first one
	deadline    time.Time     // the write deadline, or zero
	patience    time.Duration // time until the deadline when it was set
}

// source is the source of a talk's input.
type source interface {
	// read reads like an io.Reader. If it waits for anything other than the client, the wait ends
	// with t.
	read(t *talk, b []byte) (int, error)
	// stuck reports whether only a deadline of net/http can wake a read.
	stuck() bool
}

// newQuestion returns a talk whose input is one line. If follow is set, the input then stays open
// until the client leaves. answer writes lines to the client. It is called from one goroutine at a
// time, and may get any part of a line.
func newQuestion(w http.ResponseWriter, r *http.Request, line string, follow bool, answer func(lines []byte) error) *talk {
	return newTalk(w, r, &question{line, follow}, answer)
}

// newUpload returns a talk whose input is the request's body, read through body.
func newUpload(w http.ResponseWriter, r *http.Request, body io.Reader, answer func(lines []byte) error) *talk {
	t := newTalk(w, r, upload{body}, answer)
	t.control.EnableFullDuplex() // on error, it is on already
	return t
}

func newTalk(w http.ResponseWriter, r *http.Request, from source, answer func(lines []byte) error) *talk {
	return &talk{request: r, control: http.NewResponseController(w), source: from, answer: answer, ended: make(chan struct{})}
}

// idleTime is how long nothing may be written before idle is called. Tests change it.
var idleTime = 15 * time.Second

// question is a source with one line.
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

// errEnded ends a question's wait for input; Read turns it into the reason.
var errEnded = errors.New("ended")

// upload is a source that reads the request's body. Only io.EOF is its end: a body that breaks off
// ends with another error.
type upload struct{ body io.Reader }

func (upload) stuck() bool { return true }

func (u upload) read(_ *talk, b []byte) (n int, err error) { return u.body.Read(b) }

// Read reads the input. After a deadline it returns os.ErrDeadlineExceeded, even together with the
// last bytes, which count. It returns context.Canceled if the client of a question has left.
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

// endInput ends the input of a question, because its answer is complete.
func (t *talk) endInput() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end()
}

// end ends a question's wait for input. The caller holds mu.
func (t *talk) end() {
	select {
	case <-t.ended:
	default:
		close(t.ended)
	}
}

// over returns why the input has ended, or nil. The caller holds mu.
func (t *talk) over() error {
	switch {
	case t.closed:
		return net.ErrClosed
	case t.interrupted:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Write writes b to the answer. After an error, the answer cannot continue.
func (t *talk) Write(b []byte) (n int, err error) {
	t.out.Lock()
	defer t.out.Unlock()
	if err := t.send(func() error { return t.answer(b) }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// send calls write, which writes to the client. The caller holds out.
func (t *talk) send(write func() error) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return net.ErrClosed
	}
	if t.expired() { // the timer has fired, and cannot end a write that begins now
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

// tell calls idle, unless something was written recently or is being written.
func (t *talk) tell() error {
	if !t.out.TryLock() {
		return nil
	}
	defer t.out.Unlock()
	t.mu.Lock()
	wrote, patience := t.wrote, t.patience
	t.wrote = false
	t.mu.Unlock()
	if wrote || patience == 0 { // 0 before the first write
		return nil
	}
	t.SetWriteDeadline(time.Now().Add(patience))
	err := t.send(t.idle)
	t.mu.Lock()
	t.wrote = false
	t.mu.Unlock()
	return err
}

// Close ends the talk and everything that waits in it.
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
	if t.sending { // if it is about to return, the client can still be told why the talk ends
		time.AfterFunc(closeTime, t.cutShort)
	}
	return nil
}

// closeTime is how long a write may continue after Close.
const closeTime = 100 * time.Millisecond

// cutShort ends a write in progress.
func (t *talk) cutShort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sending {
		t.late = true
		t.control.SetWriteDeadline(past)
	}
}

// past is a deadline that ends a pending call.
var past = time.Unix(1, 0)

// interrupt ends the input. The caller holds mu.
func (t *talk) interrupt() {
	t.interrupted = true
	t.end()
	if t.receiving && t.source.stuck() {
		t.control.SetReadDeadline(past)
	}
}

// SetReadDeadline ends the input if at is in the past. A server sets no other read deadline on a
// conversation.
func (t *talk) SetReadDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed && !at.IsZero() && !at.After(time.Now()) {
		t.interrupt()
	}
	return nil
}

// SetWriteDeadline limits the write in progress and later ones.
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

// expire ends a write that is still in progress at the deadline.
func (t *talk) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed && t.sending && t.expired() {
		t.late = true
		t.control.SetWriteDeadline(past)
	}
}

// expired reports whether the write deadline has passed. The caller holds mu.
func (t *talk) expired() bool { return !t.deadline.IsZero() && !time.Now().Before(t.deadline) }

// finish limits the time for what net/http has yet to write of the answer. Call it after Converse.
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

// LocalAddr returns the address that the client connected to, nil if unknown.
func (t *talk) LocalAddr() net.Addr {
	addr, _ := t.request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return addr
}

// RemoteAddr returns the client's address, or the zero address if it is not an IP address.
func (t *talk) RemoteAddr() net.Addr {
	addr, _ := netip.ParseAddrPort(t.request.RemoteAddr)
	return net.TCPAddrFromAddrPort(addr)
}
