package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"tcp-log-server/server"
)

// entries answers GET /entries: it holds a read as a conversation, whose lines are the answer.
func (h *Handler) entries(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r)
	if err == nil && r.ContentLength != 0 {
		err = errBody
	}
	if err != nil {
		(&fault{http.StatusBadRequest, err.Error()}).answer(w)
		return
	}
	head, err := h.config.Server.Head(r.Context())
	if err != nil {
		h.failed(w, r, err)
		return
	}
	a := &reply{w: w, control: http.NewResponseController(w), head: r.Method == http.MethodHead}
	t := newQuestion(w, r, q.line, q.follow, a.write)
	a.whole = t.endInput
	if q.events {
		a.mediaType = "text/event-stream"
		events := &eventStream{reply: a}
		a.split.to, t.idle = events, events.comment
	} else {
		a.mediaType = "application/x-ndjson"
		a.split.to = &lineStream{reply: a, follows: q.follow, through: head}
	}
	h.ask(t, a)
}

// ask answers with a conversation, if the client is admitted.
func (h *Handler) ask(t *talk, a *reply) {
	token, name, _, ok := h.admitted(t.request)
	if !ok {
		(&fault{http.StatusUnauthorized, server.ErrUnauthorized.Error()}).answer(a.w)
		return
	}
	h.converse(t, a, server.Conversation{Token: token, Name: name})
}

// converse holds the conversation of a read and finishes its answer.
func (h *Handler) converse(t *talk, a *reply, with server.Conversation) {
	if q, ok := t.source.(*question); ok && q.follow {
		// The conversation may last long. Only this header is still needed, and the rest can take
		// ten times the memory of what was sent.
		t.request.Header = http.Header{"Connection": t.request.Header["Connection"]}
	}
	err := h.config.Server.Converse(t, with)
	t.finish()
	switch {
	case a.done:
	case !a.begun:
		h.refuse(a.w, t.request, err)
	default:
		a.breakOff(why(err))
	}
}

// refuse answers a request whose conversation ended with err before the answer began.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, server.ErrUnauthorized):
		(&fault{http.StatusUnauthorized, err.Error()}).answer(w)
	case errors.Is(err, server.ErrTooManyConnections):
		(&fault{http.StatusServiceUnavailable, err.Error()}).answer(w)
	case err == nil || errors.Is(err, server.ErrServerClosed):
		(&fault{http.StatusServiceUnavailable, "the server is shutting down"}).answer(w)
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case unavailable(err) != "":
		(&fault{http.StatusServiceUnavailable, why(err)}).answer(w)
	default: // already logged by the server
		(&fault{http.StatusInternalServerError, why(err)}).answer(w)
	}
}

// failed answers a request for which reading the log failed with err, unless the client has left.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	if unavailable(err) != "" {
		(&fault{http.StatusServiceUnavailable, why(err)}).answer(w)
		return
	}
	h.config.Logger.Error().Err(err).Str("event", "error").Msg("a request over HTTP could not be answered")
	(&fault{http.StatusInternalServerError, why(err)}).answer(w)
}

// why returns what a client is told about the error that ended its conversation.
func why(err error) string {
	switch {
	case err == nil:
		return "the server is shutting down"
	case errors.Is(err, server.ErrUnauthorized):
		return err.Error()
	}
	return cmp.Or(unavailable(err), "the log cannot be read") // the server's log file names the files
}

// unavailable returns why remote data cannot be read now, or "" if err has another reason.
func unavailable(err error) string {
	if unread, ok := errors.AsType[*server.ReadError](err); ok && unread.Later() {
		return unread.Text
	}
	return ""
}

// reply is the answer to a read.
type reply struct {
	w         http.ResponseWriter
	control   *http.ResponseController
	mediaType string
	head      bool // send only the header

	split lineSplitter
	begun bool   // the status is decided
	done  bool   // the answer is complete
	whole func() // unless nil, called when done
}

// errAnswered ends a conversation that has nothing more to say.
var errAnswered = errors.New("the request has been answered")

// write receives the lines of the conversation.
func (a *reply) write(b []byte) error {
	open, err := a.split.write(b)
	if err != nil || open {
		return err // the rest of an open line follows at once
	}
	if a.done && a.whole != nil {
		a.whole()
	}
	return a.control.Flush()
}

// start begins the answer, unless it has begun, with the status for the first line. It returns
// errAnswered if there is nothing more to answer.
func (a *reply) start(line []byte) error {
	if a.begun {
		return nil
	}
	a.begun = true
	if bytes.HasPrefix(line, errorPrefix) {
		a.done = true
		refuseRead(a.w, line)
		return errAnswered
	}
	a.header()
	if a.head {
		a.done = true
		return errAnswered
	}
	return nil
}

// header sets the header of an answer with entries.
func (a *reply) header() {
	h := a.w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies must not buffer lines
}

// refuseRead answers with the protocol's error about a read.
func refuseRead(w http.ResponseWriter, line []byte) {
	var told struct {
		Error string `json:"error"`
	}
	json.Unmarshal(line, &told) // on error, the text is empty
	status := http.StatusBadRequest
	text, invalid := strings.CutPrefix(told.Error, "invalid message: ")
	switch {
	case invalid:
	case strings.HasPrefix(text, "unauthorized"):
		status = http.StatusForbidden
	case strings.HasPrefix(text, "not available now: "):
		status = http.StatusServiceUnavailable
	}
	(&fault{status, text}).answer(w)
}

// breakOff ends an incomplete answer so that the client notices.
func (a *reply) breakOff(why string) {
	if events, ok := a.split.to.(*eventStream); ok && !a.split.open() {
		events.fail(why)
	}
	panic(http.ErrAbortHandler)
}

// lineStream answers with the lines of the protocol.
type lineStream struct {
	*reply
	follows bool
	through uint64 // the head when the read began, or a later index that was sent
}

func (s *lineStream) lines(b []byte) error {
	if err := s.start(b); err != nil {
		return err
	}
	last := lastLine(b)
	switch line := b[last:]; {
	case bytes.HasPrefix(line, headPrefix):
		s.done = true
	case s.follows:
	case bytes.Equal(line, currentLine):
		if b = b[:last]; last > 0 {
			s.sees(b[lastLine(b):])
			if _, err := s.w.Write(b); err != nil {
				return err
			}
		}
		s.done = true
		b = appendHead(nil, s.through)
	default:
		s.sees(line)
	}
	_, err := s.w.Write(b)
	return err
}

// sees records the index of a line.
func (s *lineStream) sees(line []byte) {
	index, _ := lineIndex(line)
	s.through = max(s.through, index)
}

func (s *lineStream) begin(b []byte) error {
	if err := s.start(b); err != nil {
		return err
	}
	s.sees(b)
	_, err := s.w.Write(b)
	return err
}

func (s *lineStream) more(b []byte, _ bool) error {
	_, err := s.w.Write(b)
	return err
}
