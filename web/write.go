package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"tcp-log-server/appends"
	"tcp-log-server/server"
)

// appends answers POST /entries: one entry or one batch with one reply and its status, a stream of
// entries with a line for each.
func (h *Handler) appends(w http.ResponseWriter, r *http.Request) {
	with, bad := describe(r)
	if bad != nil {
		bad.answer(w)
		return
	}
	var rights server.Rights
	var ok bool
	if with.Token, with.Name, rights, ok = h.admitted(r); !ok {
		(&fault{http.StatusUnauthorized, "unauthorized"}).answer(w)
	} else if !rights.Write {
		(&fault{http.StatusForbidden, "not stored: unauthorized: this token may not write"}).answer(w)
	} else if with.Form == server.EntryLines {
		h.appendLines(w, r, with)
	} else {
		h.appendWhole(w, r, with)
	}
}

// errStops: a body was not read to its end, because the server is stopping.
const errStops = "not stored: the server is shutting down"

// appendLines appends each line of the body, and answers with a line for each.
func (h *Handler) appendLines(w http.ResponseWriter, r *http.Request, with server.Conversation) {
	begun := false
	body := &body{Reader: r.Body}
	t := newUpload(w, r, body, func(lines []byte) error {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		_, err := w.Write(lines)
		return errors.Join(err, http.NewResponseController(w).Flush())
	})
	err := h.config.Server.Converse(t, with)
	t.finish()
	body.endWith(w, r)
	switch {
	case err == nil && !body.ended:
		// The lines read before are answered. The client may continue to send forever.
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Write(errorLine(errStops))
	case err == nil && !begun:
		w.Header().Set("Content-Type", "application/x-ndjson")
	case err == nil:
	case !body.begun:
		unstarted(err).answer(w)
	default:
		panic(http.ErrAbortHandler) // so that the answer does not look complete
	}
}

// appendWhole appends the body, an entry or a batch, and answers with the outcome.
func (h *Handler) appendWhole(w http.ResponseWriter, r *http.Request, with server.Conversation) {
	var outcome server.Outcome
	var reply []byte
	if limit := h.bodyMax(); r.ContentLength > limit { // the client may learn this before it sends the body
		(&fault{http.StatusRequestEntityTooLarge, fmt.Sprintf("not stored: the body is %d bytes long, over the limit of %d", r.ContentLength, limit)}).answer(w)
		return
	}
	body := &body{Reader: r.Body}
	var t *talk
	replied := false
	with.OnReply = func(o server.Outcome) { outcome, replied = o, true }
	t = newUpload(w, r, body, func(lines []byte) error {
		reply = append(reply, lines...)
		if outcome == server.TooLarge {
			t.SetReadDeadline(past) // the rest of the body does not matter
		}
		return nil
	})
	err := h.config.Server.Converse(t, with)
	t.finish()
	body.endWith(w, r)
	switch {
	case len(reply) > 0 && replied:
		answerAppend(w, outcome, reply)
	case err != nil && !body.begun:
		unstarted(err).answer(w)
	case err == nil && !body.ended:
		(&fault{http.StatusServiceUnavailable, errStops}).answer(w)
	case err == nil:
		(&fault{http.StatusUnprocessableEntity, "not stored: the body is empty, want " + map[server.Form]string{server.OneEntry: "a JSON value", server.OneBatch: "an entry a line"}[with.Form]}).answer(w)
	case body.ended: // so the append may be on its way
		(&fault{http.StatusInternalServerError, "outcome unknown: " + err.Error()}).answer(w)
	case body.err != nil:
		(&fault{http.StatusBadRequest, "not stored: the body broke off: " + body.err.Error()}).answer(w)
	default:
		unstarted(err).answer(w)
	}
}

// bodyMax is the maximum length of an entry or a batch as sent: that of a line of the protocol.
func (h *Handler) bodyMax() int64 { return int64(h.config.Server.Capabilities().MaxEntry) + 64<<10 }

// body is a request's body that records how far it was read. It never replaces Request.Body, by
// which net/http decides whether to reuse a connection.
type body struct {
	io.Reader
	begun, ended bool
	err          error // except io.EOF
}

func (b *body) Read(p []byte) (n int, err error) {
	n, err = b.Reader.Read(p)
	b.begun, b.ended = true, b.ended || err == io.EOF
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// endWith makes the answer w close the connection if the body was not read to the end: the rest
// would be taken for the next request. HTTP/2 does not need that. It has no effect once the answer
// has begun.
func (b *body) endWith(w http.ResponseWriter, r *http.Request) {
	if !b.ended && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// unstarted returns the answer if nothing of the body had any effect.
func unstarted(err error) *fault {
	if err == server.ErrUnauthorized {
		return &fault{http.StatusUnauthorized, err.Error()}
	}
	return &fault{http.StatusServiceUnavailable, "not stored: " + err.Error()}
}

// answerAppend answers with the reply to an append, and the status of its outcome.
func answerAppend(w http.ResponseWriter, outcome server.Outcome, reply []byte) {
	status := map[server.Outcome]int{
		server.Stored:       http.StatusCreated,
		server.Unmet:        http.StatusConflict,
		server.Unacceptable: http.StatusUnprocessableEntity,
		server.TooLarge:     http.StatusRequestEntityTooLarge,
		server.Forbidden:    http.StatusForbidden,
		server.Unstored:     http.StatusServiceUnavailable,
		server.Unknown:      http.StatusInternalServerError,
	}[outcome]
	if outcome == server.Stored {
		var stored struct {
			Index uint64
			Seen  bool
		}
		if err := json.Unmarshal(reply, &stored); err != nil {
			panic(err) // the server wrote it
		}
		w.Header().Set("Location", "/entries/"+strconv.FormatUint(stored.Index, 10))
		if stored.Seen {
			status = http.StatusOK
		}
	}
	answer(w, status, reply)
}

// fault is an error with the status of the answer.
type fault struct {
	status int
	text   string
}

// answer answers with the error.
func (f *fault) answer(w http.ResponseWriter) { answer(w, f.status, errorLine(f.text)) }

// errorLine returns the JSON object of an error.
func errorLine(text string) []byte {
	line, _ := json.Marshal(map[string]string{"error": text})
	return append(line, '\n')
}

// retryAfter is the number of seconds after which a client may retry if nothing better is known.
const retryAfter = "1"

// answer answers with a line of JSON.
func answer(w http.ResponseWriter, status int, line []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	w.Write(line)
}

// describe returns what the request asks to append.
func describe(r *http.Request) (with server.Conversation, bad *fault) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"),
		r.Header.Get("Content-Encoding") != "" && r.Header.Get("Content-Encoding") != "identity":
		err = errors.New("encoded")
	case err == nil && kind == "application/json":
		with.Form = server.OneEntry
	case err == nil && kind == "application/x-ndjson":
		with.Form = server.EntryLines
	default:
		err = errors.New("another type")
	}
	if err != nil {
		return with, &fault{http.StatusUnsupportedMediaType, fmt.Sprintf(
			"not stored: the Content-Type is %q, want application/json for one entry or application/x-ndjson for one a line, in UTF-8 without an encoding", r.Header.Get("Content-Type"))}
	}
	if err := terms(r, &with); err != nil {
		return with, &fault{http.StatusBadRequest, "not stored: " + err.Error()}
	}
	return with, nil
}

// terms sets the conditions from the parameters of an append.
func terms(r *http.Request, with *server.Conversation) error {
	values, err := parameters(r, []string{"batch", "if", "once", "receipt"})
	var batch, once bool
	if err == nil {
		batch, err = flagOf(values, "batch")
	}
	if err == nil {
		once, err = flagOf(values, "once")
	}
	if err == nil {
		with.Receipt, err = flagOf(values, "receipt")
	}
	if expected := values.Get("if"); err == nil && values.Has("if") {
		head, ok := whole(expected)
		if with.On = (appends.Condition{Kind: appends.Expect, Head: head}); !ok {
			err = fmt.Errorf("%q is %q, want a whole number from 0 on", "if", shorten(expected))
		}
	}
	switch {
	case err != nil:
		return err
	case values.Has("if") && once:
		return errors.New(`it has both "if" and "once", want one of them`)
	case batch && once:
		return errors.New(`it has both "batch" and "once", want one of them`)
	case batch && with.Form == server.OneEntry:
		return errors.New(`"batch" needs the Content-Type application/x-ndjson, with an entry a line`)
	case values.Has("if") && with.Form == server.EntryLines && !batch:
		return errors.New(`"if" needs "batch" with lines, since they get indices one after the other`)
	case batch:
		with.Form = server.OneBatch
	case once:
		with.On = appends.Condition{Kind: appends.Once}
	}
	return nil
}
