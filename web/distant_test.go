package web

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tcp-log-server/server"
)

// distant is a log on several machines that are unreachable, with the error err.
type distant struct {
	server.Log
	err error
}

func (l distant) Head(ctx context.Context) (uint64, error) {
	if l.err != nil {
		return 0, l.err
	}
	return l.Log.Head(ctx)
}

func (l distant) Since(ctx context.Context, time int64) (uint64, error) {
	if l.err != nil {
		return 0, l.err
	}
	return l.Log.Since(ctx, time)
}

func (l distant) Known() uint64 {
	head, _ := l.Acked()
	return head
}

// sinceless is a distant log that knows its head, but not where a time is.
type sinceless struct{ distant }

func (sinceless) Since(context.Context, int64) (uint64, error) { return 0, errors.New("no leader") }

// headOnce is a log that knows its head the first time it is asked, and not the second time.
type headOnce struct {
	distant
	asked *int
}

func (l headOnce) Head(ctx context.Context) (uint64, error) {
	if *l.asked++; *l.asked > 1 {
		return 0, errors.New("no leader")
	}
	return l.distant.Head(ctx)
}

// TestHeadUnknown: while the log does not know its head, clients are told to retry, and requests
// that do not need the head are answered.
func TestHeadUnknown(t *testing.T) {
	log := memory(t)
	put(t, log, `{"n":1}`)
	const why = `{"error":"not available now: no leader"}` + "\n"
	for _, secure := range []bool{false, true} {
		s := serve(t, distant{log, errors.New("no leader")}, server.Config{}, secure)
		for _, path := range []string{"/entries", "/entries?follow", "/entries?since=2001-01-01T00:00:00Z", "/entries/1", "/head", "/histogram"} {
			resp, got := s.get("GET", path)
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || got != why {
				t.Errorf("GET %s: got %d, Retry-After %q and %s", path, resp.StatusCode, resp.Header.Get("Retry-After"), got)
			}
		}
		if resp, got := s.get("GET", "/entries", sse); resp.StatusCode != 503 || got != why {
			t.Errorf("as events: got %d and %s", resp.StatusCode, got)
		}
		if resp, got := s.get("GET", "/stat"); resp.StatusCode != 200 {
			t.Errorf("GET /stat: got %d and %s", resp.StatusCode, got)
		}
		s.wantIdle()
		for _, path := range []string{"/entries?since=2001-01-01T00:00:00Z", "/histogram"} {
			s := serve(t, sinceless{distant{log, nil}}, server.Config{}, secure)
			if resp, got := s.get("GET", path); resp.StatusCode != 503 || got != why {
				t.Errorf("GET %s without an answer to Since: got %d and %s", path, resp.StatusCode, got)
			}
		}
		s = serve(t, headOnce{distant{log, nil}, new(int)}, server.Config{}, secure)
		if resp, got := s.get("GET", "/entries"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || got != why {
			t.Errorf("GET /entries when the head is lost on the way: got %d and %s", resp.StatusCode, got)
		}
		s = serve(t, distant{log, nil}, server.Config{}, secure)
		if resp, got := s.get("GET", "/entries"); resp.StatusCode != 200 || got != `{"index":1,"entry":{"n":1}}`+"\n"+`{"head":1}`+"\n" {
			t.Errorf("with an answer: got %d and %s", resp.StatusCode, got)
		}
	}
}

// slowSince is a log that takes 20 ms to find the entry of a time.
type slowSince struct{ distant }

func (l slowSince) Since(ctx context.Context, at int64) (uint64, error) {
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(20 * time.Millisecond):
		return l.Log.Since(ctx, at)
	}
}

// TestHistogramTakesTooLong: a histogram that takes too long is given up, and the client is told to
// retry.
func TestHistogramTakesTooLong(t *testing.T) {
	log := memory(t)
	for i := range 50 {
		put(t, log, fmt.Sprintf(`{"n":%d}`, i))
	}
	srv := server.New(slowSince{distant{log, nil}}, server.Config{})
	h := New(Config{Server: srv, Log: log})
	h.countTime = 100 * time.Millisecond
	for _, path := range []string{"/histogram?buckets=1", "/histogram?buckets=1000&since=2001-01-01T00:00:00Z"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		want := 200
		if strings.Contains(path, "1000") {
			want = 503
		}
		if w.Code != want || want == 503 && !strings.Contains(w.Body.String(), "not available now: counting took longer than 100ms") {
			t.Errorf("GET %s: got %d and %s, want %d", path, w.Code, w.Body, want)
		}
	}
	h.counting <- struct{}{}
	for len(h.counting) < cap(h.counting) {
		h.counting <- struct{}{}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/histogram", nil))
	if w.Code != 503 {
		t.Errorf("while others are counted: got %d and %s", w.Code, w.Body)
	}
}
