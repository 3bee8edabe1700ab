package web

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"time"

	"tcp-log-server/server"
)

// A page cannot hide a token from an injected script. So it exchanges the token for a cookie that
// no script can read: the random ID of a session, which stands for the token as long as the token
// has rights.

const (
	// maxSessions is the maximum number of sessions. One more ends the least recently used one.
	maxSessions = 1000
	// loginBytes and loginTime limit the body of a login request.
	loginBytes = 4 << 10
	loginTime  = 10 * time.Second
)

// sessions are the open sessions. The zero value has none.
type sessions struct {
	mu   sync.Mutex
	byID map[[32]byte]*list.Element // by the SHA-256 of the ID, so that a lookup reveals nothing about others
	used list.List                  // of session, most recently used first
}

type session struct{ id, token [32]byte }

// open opens a session for a token and returns its ID.
func (s *sessions) open(token [32]byte) (id string) {
	var random [32]byte
	rand.Read(random[:])
	id = base64.RawURLEncoding.EncodeToString(random[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[[32]byte]*list.Element)
	}
	for s.used.Len() >= maxSessions {
		s.remove(s.used.Back())
	}
	key := sha256.Sum256([]byte(id))
	s.byID[key] = s.used.PushFront(session{key, token})
	return id
}

// token returns the SHA-256 of the token of a session.
func (s *sessions) token(id string) (token [32]byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byID[sha256.Sum256([]byte(id))]
	if !ok {
		return token, false
	}
	s.used.MoveToFront(e)
	return e.Value.(session).token, true
}

// end ends the sessions of tokens without rights.
func (s *sessions) end(rights func(token [32]byte) (name string, rights server.Rights)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.used.Front(); e != nil; {
		next := e.Next()
		if _, has := rights(e.Value.(session).token); has == (server.Rights{}) {
			s.remove(e)
		}
		e = next
	}
}

// Reauthorize ends the sessions of tokens that no longer have rights.
func (h *Handler) Reauthorize() {
	if h.config.Tokens != nil {
		h.sessions.end(h.config.Tokens)
	}
}

// close ends a session, if it exists.
func (s *sessions) close(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byID[sha256.Sum256([]byte(id))]; ok {
		s.remove(e)
	}
}

func (s *sessions) remove(e *list.Element) {
	delete(s.byID, e.Value.(session).id)
	s.used.Remove(e)
}

// cookieName returns the name of the session cookie. It contains the port, because a browser sends
// the cookies of a host to all its ports. Under TLS it has the prefix that keeps other hosts from
// setting it.
func cookieName(r *http.Request) string {
	name := "log-session"
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		name += fmt.Sprint("-", addr.Port)
	}
	if r.TLS != nil {
		return "__Host-" + name
	}
	return name
}

// sessionOf returns the session ID in the request's cookie.
func sessionOf(r *http.Request) (id string, ok bool) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return "", false
	}
	return cookie.Value, true
}

// setCookie makes the browser store the session ID, or forget it if id is "".
func setCookie(w http.ResponseWriter, r *http.Request, id string) {
	cookie := &http.Cookie{Name: cookieName(r), Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil}
	if id == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// session answers GET /session: what the client may do, and what admits clients.
func (h *Handler) session(w http.ResponseWriter, r *http.Request) {
	type rights struct {
		Read  bool `json:"read"`
		Write bool `json:"write"`
	}
	_, name, has, _ := h.admitted(r)
	access := "open"
	if _, ok := certified(r); ok {
		access = "certificate"
	} else if h.config.Tokens != nil {
		access = "token"
	}
	answerJSON(w, struct {
		Access string `json:"access"`
		Rights rights `json:"rights"`
		Name   string `json:"name,omitempty"`
	}{access, rights(has), name})
}

// logIn answers POST /session: it exchanges a token for a cookie.
func (h *Handler) logIn(w http.ResponseWriter, r *http.Request) {
	if h.config.Tokens == nil {
		(&fault{http.StatusBadRequest, "this server has no tokens: no client needs to log in"}).answer(w)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		(&fault{http.StatusUnsupportedMediaType, fmt.Sprintf("the Content-Type is %q, want application/json", shorten(r.Header.Get("Content-Type")))}).answer(w)
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(loginTime))
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, loginBytes))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		(&fault{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over the limit of %d bytes", loginBytes)}).answer(w)
		return
	}
	var given struct{ Token *string }
	if err == nil {
		err = json.Unmarshal(text, &given)
	}
	if err != nil || given.Token == nil {
		(&fault{http.StatusBadRequest, `the body is not {"token":"…"}`}).answer(w)
		return
	}
	token := sha256.Sum256([]byte(*given.Token))
	if _, rights := h.config.Tokens(token); rights == (server.Rights{}) {
		h.turnAway(w, r, errToken)
		return
	}
	if before, ok := sessionOf(r); ok {
		h.sessions.close(before)
	}
	setCookie(w, r, h.sessions.open(token))
	w.WriteHeader(http.StatusNoContent)
}

// logOut answers DELETE /session.
func (h *Handler) logOut(w http.ResponseWriter, r *http.Request) {
	if id, ok := sessionOf(r); ok {
		h.sessions.close(id)
		setCookie(w, r, "")
	}
	w.WriteHeader(http.StatusNoContent)
}
