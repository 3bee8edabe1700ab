package server

import (
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// sluggish is a socket whose writes each take some time and some bytes.
type sluggish struct {
	net.Conn
	takes []int // bytes that each write takes before its deadline
	got   []byte
	end   time.Time
}

func (s *sluggish) SetWriteDeadline(t time.Time) error {
	s.end = t
	return nil
}

func (s *sluggish) Write(b []byte) (int, error) {
	n := min(s.takes[0], len(b))
	s.takes = s.takes[1:]
	s.got = append(s.got, b[:n]...)
	if n == len(b) {
		return n, nil
	}
	time.Sleep(time.Until(s.end))
	return n, os.ErrDeadlineExceeded
}

func TestStallTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		takes []int
		limit time.Duration // for SetWriteDeadline, 0 for none
		n     int
		took  time.Duration
		err   error
	}{
		"at once":                 {takes: []int{10}, n: 10},
		"little by little":        {takes: []int{1, 2, 3, 9}, n: 10, took: 3 * time.Minute},
		"nothing":                 {takes: []int{0}, took: time.Minute, err: os.ErrDeadlineExceeded},
		"something, then nothing": {takes: []int{4, 0}, n: 4, took: 2 * time.Minute, err: os.ErrDeadlineExceeded},
		"until a limit":           {takes: []int{4, 1, 0}, limit: 5 * time.Second, n: 5, took: 5 * time.Second, err: os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sluggish{takes: tt.takes}
				p := &stallTimeoutConn{Conn: s, timeout: time.Minute, counts: new(counts), stuck: &share{epoch: time.Now()}}
				if tt.limit > 0 {
					p.SetWriteDeadline(time.Now().Add(tt.limit))
				}
				began := time.Now()
				b := []byte("0123456789")
				n, err := p.Write(b)
				if n != tt.n || err != tt.err || time.Since(began) != tt.took || !slices.Equal(s.got, b[:n]) {
					t.Errorf("took %v: %d, %v, %q; want %v: %d, %v", time.Since(began), n, err, s.got, tt.took, tt.n, tt.err)
				}
			})
		})
	}
}
