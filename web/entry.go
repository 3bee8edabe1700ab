package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// entry answers GET /entries/{index}: it reads one entry.
func (h *Handler) entry(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("index")
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil || index == 0 || index > math.MaxInt64 {
		(&fault{http.StatusBadRequest, fmt.Sprintf("the index is %q, want a whole number from 1 on", shorten(text))}).answer(w)
		return
	}
	if _, err := parameters(r, nil); err != nil {
		(&fault{http.StatusBadRequest, err.Error()}).answer(w)
		return
	}
	a := &reply{w: w, control: http.NewResponseController(w), head: r.Method == http.MethodHead}
	a.split.to = &entryStream{reply: a, request: r}
	line := fmt.Sprintf(`{"from":%d,"read":1,"hash":true,"time":true}`+"\n", index)
	h.ask(newQuestion(w, r, line, false, a.write), a)
}

// entryStream answers with the bytes of the entry in a line of the protocol.
type entryStream struct {
	*reply
	request *http.Request
	end     []byte // last bytes so far of a long line, which may be after the entry
}

// afterEntry is the part of a line after its entry.
const afterEntry = "}\n"

func (s *entryStream) lines(b []byte) error {
	for len(b) > 0 && !s.done {
		n := bytes.IndexByte(b, '\n') + 1
		if err := s.line(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// line answers with a complete line.
func (s *entryStream) line(line []byte) error {
	s.begun, s.done = true, true
	index, rest := lineIndex(line)
	switch {
	case bytes.HasPrefix(line, errorPrefix):
		refuseRead(s.w, line)
	case bytes.Equal(line, currentLine):
		(&fault{http.StatusNotFound, fmt.Sprintf("there is no entry %s: it is beyond the head", s.request.PathValue("index"))}).answer(s.w)
	case index == 0:
		return fmt.Errorf("unexpected line %.100q", line)
	case isDamaged(rest):
		s.damaged(line)
	default:
		entry, fresh, err := s.header(line)
		if err != nil || fresh {
			return err
		}
		entry = entry[:len(entry)-len(afterEntry)]
		s.w.Header().Set("Content-Length", strconv.Itoa(len(entry)))
		_, err = s.w.Write(entry)
		return err
	}
	return nil
}

// damaged answers that the entry is unreadable.
func (s *entryStream) damaged(line []byte) {
	s.w.Header().Set("Content-Type", "application/json")
	s.w.Header().Set("Cache-Control", "no-store")
	s.w.WriteHeader(http.StatusGone)
	s.w.Write(line)
}

// header sets the header for the line that b begins with, and returns the part of b from the entry
// on. If the client already has the entry, header sends that answer and sets fresh.
func (s *entryStream) header(b []byte) (entry []byte, fresh bool, err error) {
	before, entry, _ := bytes.Cut(b, []byte(`,"entry":`))
	var line struct {
		Index uint64
		Time  *time.Time
		Hash  string
	}
	if err := json.Unmarshal(append(bytes.Clone(before), '}'), &line); err != nil {
		return nil, false, err
	}
	h := s.w.Header()
	h.Set("ETag", `"`+line.Hash+`"`)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Add("Vary", "Authorization, Cookie") // so that a browser asks again after a change of user
	h.Set("X-Log-Index", strconv.FormatUint(line.Index, 10))
	var stored time.Time // zero if unknown
	if line.Time != nil {
		stored = *line.Time
		h.Set("Last-Modified", stored.UTC().Format(http.TimeFormat))
	}
	if has(s.request, h.Get("ETag"), stored) {
		s.w.WriteHeader(http.StatusNotModified)
		return nil, true, nil
	}
	h.Set("Content-Type", "application/json")
	return entry, false, nil
}

// has reports whether the client already has the entry with that tag and time.
func has(r *http.Request, tag string, stored time.Time) bool {
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 {
		for known := range strings.SplitSeq(strings.Join(tags, ","), ",") {
			known = strings.TrimPrefix(strings.TrimSpace(known), "W/")
			if known == tag || known == "*" {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return err == nil && !stored.IsZero() && !stored.Truncate(time.Second).After(since)
}

func (s *entryStream) begin(b []byte) error {
	s.begun = true
	entry, fresh, err := s.header(b)
	if err == nil && (fresh || s.head) {
		s.done = true
		err = errAnswered
	}
	if err != nil {
		return err
	}
	return s.more(entry, false)
}

func (s *entryStream) more(b []byte, end bool) error {
	s.end = append(s.end, b...)
	n := max(0, len(s.end)-len(afterEntry))
	_, err := s.w.Write(s.end[:n])
	s.end = s.end[:copy(s.end, s.end[n:])]
	s.done = s.done || end && err == nil
	return err
}
