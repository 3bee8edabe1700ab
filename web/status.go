package web

import (
	"bytes"
	"encoding/json"
	"net/http"

	"tcp-log-server/server"
)

// mayRead reports whether the client may read. If not, it answers with the error.
func (h *Handler) mayRead(w http.ResponseWriter, r *http.Request) bool {
	_, _, rights, ok := h.admitted(r)
	switch {
	case !ok:
		(&fault{http.StatusUnauthorized, server.ErrUnauthorized.Error()}).answer(w)
	case !rights.Read:
		(&fault{http.StatusForbidden, "unauthorized: this token may not read"}).answer(w)
	}
	return ok && rights.Read
}

// head answers GET /head.
func (h *Handler) head(w http.ResponseWriter, r *http.Request) {
	if !h.mayRead(w, r) {
		return
	}
	if _, err := parameters(r, nil); err != nil {
		(&fault{http.StatusBadRequest, err.Error()}).answer(w)
		return
	}
	head, err := h.config.Server.Head(r.Context())
	if err != nil {
		h.failed(w, r, err)
		return
	}
	answerJSON(w, struct {
		Head uint64 `json:"head"`
	}{head})
}

// stat answers GET /stat with the protocol's answer to {"stat":true}.
func (h *Handler) stat(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r, nil); err != nil {
		(&fault{http.StatusBadRequest, err.Error()}).answer(w)
		return
	}
	a := &reply{w: w, control: http.NewResponseController(w)}
	status := &statusStream{reply: a}
	a.split.to = status
	h.ask(newQuestion(w, r, "{\"stat\":true}\n", false, a.write), a)
}

// statusStream answers with the object in a line {"stat":…}.
type statusStream struct {
	*reply
	line []byte
}

func (s *statusStream) lines(b []byte) error {
	s.begun, s.done = true, true
	status, ok := bytes.CutPrefix(append(s.line, b...), []byte(`{"stat":`))
	if !ok {
		(&fault{http.StatusInternalServerError, "the server has no status"}).answer(s.w)
		return nil
	}
	s.w.Header().Set("Content-Type", "application/json")
	s.w.Header().Set("Cache-Control", "no-store")
	_, err := s.w.Write(append(bytes.TrimSuffix(status, []byte(afterEntry)), '\n'))
	return err
}

func (s *statusStream) begin(b []byte) error {
	s.line = append(s.line, b...)
	return nil
}

func (s *statusStream) more(b []byte, end bool) error {
	if !end {
		s.line = append(s.line, b...)
		return nil
	}
	return s.lines(b)
}

// answerJSON answers with a value.
func answerJSON(w http.ResponseWriter, value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err) // the values here can be written as JSON
	}
	answer(w, http.StatusOK, append(line, '\n'))
}
