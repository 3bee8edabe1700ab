//go:build !nocluster

package cluster

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// TestLogger: a message that the server repeats is logged once a minute for each peer; a single message
// always.
func TestLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &logger{log: zerolog.New(&out).Level(zerolog.InfoLevel), members: []Member{{"b", "10.0.0.2:6222"}, {"c", "10.0.0.3:6222"}}}
		refused := func(addr string) {
			l.Errorf("Error trying to connect to route (attempt %d): dial tcp %s: refused", 7, addr)
		}
		said := func() (lines []string) {
			for line := range strings.Lines(out.String()) {
				_, rest, _ := strings.Cut(line, `"level":"`)
				level, _, _ := strings.Cut(rest, `"`)
				_, rest, _ = strings.Cut(line, `"peer":"`)
				peer, _, _ := strings.Cut(rest, `"`)
				lines = append(lines, level+" "+peer)
			}
			out.Reset()
			return lines
		}
		for range 10 {
			refused("10.0.0.2:6222")
			refused("10.0.0.3:6222")
			l.Errorf("10.0.0.2:40000 - rid:7 - authentication error")
			l.Errorf("10.0.0.2:40000 - rid:7 - Authorization Violation")
			time.Sleep(time.Second)
		}
		if got, want := said(), []string{"warn b", "warn c", "error b"}; !slices.Equal(got, want) {
			t.Errorf("in ten seconds it has said %q, want %q", got, want)
		}
		if l.lately() == "" {
			t.Error("there is no hint after a message with one")
		}
		time.Sleep(tellEvery)
		refused("10.0.0.2:6222")
		for range 2 {
			l.Errorf("a disk burns")
		}
		if got, want := said(), []string{"warn b", "error ", "error "}; !slices.Equal(got, want) {
			t.Errorf("a minute later it has said %q, want %q", got, want)
		}
		if hint := l.lately(); hint != "" {
			t.Errorf("the hint is still %q", hint)
		}
	})
}
