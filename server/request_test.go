package server

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"
)

// timed returns the line of entry n with the requested members, as the fake log has it.
func timed(n int, time, hash bool) string {
	line := fmt.Sprintf(`{"index":%d`, n)
	entry := fmt.Sprintf(`{"n":%d}`, n)
	if time {
		line += `,"time":` + string(appendTime(nil, fakeTime(uint64(n))))
	}
	if hash {
		sum := blake3.Sum256([]byte(entry))
		line += `,"hash":"` + hex.EncodeToString(sum[:]) + `"`
	}
	return line + `,"entry":` + entry + `}`
}

// entries returns the lines of the entries from..through.
func entries(from, through int) (lines []string) {
	for n := from; n <= through; n++ {
		lines = append(lines, entry(n, n))
	}
	return lines
}

// lines joins lines and slices of lines.
func lines(parts ...any) (all []string) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			all = append(all, p)
		case []string:
			all = append(all, p...)
		}
	}
	return all
}

// TestReadOptions: what each option of a read sends, from history and while it follows.
func TestReadOptions(t *testing.T) {
	const fourth = `"2025-11-24T16:00:04Z"` // when the fake log's entry 4 is stored
	for _, tt := range []struct {
		name  string
		has   int // entries before the read
		read  string
		want  []string
		later int      // entries appended then
		then  []string // lines sent because of them
	}{
		{"since", 5, `{"since":` + fourth + `}`, lines(entries(4, 5), current), 1, entries(6, 6)},
		{"since, with an offset", 5, `{"since":"2025-11-24T17:30:04+01:30","read":1}`, lines(entry(4, 4), head(5)), 0, nil},
		{"since, between two", 5, `{"since":"2025-11-24T16:00:03.0000001Z","read":1}`, lines(entry(4, 4), head(5)), 0, nil},
		{"since, lower case", 5, `{"since":"2025-11-24t16:00:04z","read":1}`, lines(entry(4, 4), head(5)), 0, nil},
		{"since, escaped", 5, `{"since":"2025-11-24T16:00:0\u0034Z","read":1}`, lines(entry(4, 4), head(5)), 0, nil},
		{"since before the first", 2, `{"since":"0001-01-01T00:00:00Z"}`, lines(entries(1, 2), current), 0, nil},
		{"since in the future", 2, `{"since":"9999-12-31T23:59:59Z"}`, lines(current), 2, entries(3, 4)},
		{"since in an empty log", 0, `{"since":` + fourth + `,"read":2}`, lines(current), 3, lines(entries(1, 2), head(3))},
		{"last", 5, `{"last":2}`, lines(entries(4, 5), current), 1, entries(6, 6)},
		{"last, all of them", 2, `{"last":2}`, lines(entries(1, 2), current), 0, nil},
		{"last, fewer", 2, `{"last":1e30}`, lines(entries(1, 2), current), 1, entries(3, 3)},
		{"last, in an empty log", 0, `{"last":3}`, lines(current), 1, entries(1, 1)},
		{"last and read", 5, `{"last":3,"read":2}`, lines(entries(3, 4), head(5)), 0, nil},
		{"last and a longer read", 5, `{"last":1,"read":2}`, lines(entry(5, 5), current), 1, lines(entry(6, 6), head(6))},
		{"through", 5, `{"from":2,"through":3}`, lines(entries(2, 3), head(5)), 0, nil},
		{"through the head", 5, `{"from":4,"through":5}`, lines(entries(4, 5), head(5)), 0, nil},
		{"through, beyond the head", 2, `{"from":2,"through":4}`, lines(entry(2, 2), current), 3, lines(entries(3, 4), head(5))},
		{"through, before from", 5, `{"from":4,"through":3}`, lines(head(5)), 0, nil},
		{"through, before from, beyond the head", 2, `{"from":7,"through":6}`, lines(head(2)), 0, nil},
		{"through, and a shorter read", 5, `{"from":2,"through":4,"read":1}`, lines(entry(2, 2), head(5)), 0, nil},
		{"through, and a longer read", 5, `{"from":2,"through":3,"read":9}`, lines(entries(2, 3), head(5)), 0, nil},
		{"since and through", 5, `{"since":` + fourth + `,"through":3}`, lines(head(5)), 0, nil},
		{"an id", 1, `{"id":"x","last":1,"through":1}`, lines(entry(1, 1), head(1)), 0, nil},

		{"time", 2, `{"from":2,"time":true}`, lines(timed(2, true, false), current), 2, lines(timed(3, true, false), timed(4, true, false))},
		{"hash", 2, `{"from":2,"hash":true}`, lines(timed(2, false, true), current), 2, lines(timed(3, false, true), timed(4, false, true))},
		{"time and hash", 2, `{"hash":true,"last":1,"time":true}`, lines(timed(2, true, true), current), 1, lines(timed(3, true, true))},
		{"time and hash, bounded", 5, `{"from":2,"read":2,"hash":true,"time":true}`, lines(timed(2, true, true), timed(3, true, true), head(5)), 0, nil},
		{"time, from beyond the head", 2, `{"from":4,"through":4,"time":true}`, lines(current), 3, lines(timed(4, true, false), head(5))},
		{"neither time nor hash", 1, `{"from":1,"time":false,"hash":false}`, lines(entry(1, 1), current), 1, entries(2, 2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			log := newFakeLog()
			put := func(from, count int) {
				var run []string
				for n := from; n < from+count; n++ {
					run = append(run, fmt.Sprintf(`{"n":%d}`, n))
				}
				log.put(t, run...)
			}
			if tt.has > 0 {
				put(1, tt.has)
			}
			c := start(t, log, Config{}).dial()
			c.send(tt.read)
			c.want(tt.want...)
			if tt.later > 0 {
				put(tt.has+1, tt.later)
			}
			c.want(tt.then...)
			// The connection may read again if and only if the read has ended.
			c.send(`{"from":1,"read":1}`)
			if last := lines(tt.want, tt.then); !strings.HasPrefix(last[len(last)-1], `{"head":`) {
				c.want(`{"error":"already reading"}`)
			} else if tt.has+tt.later > 0 {
				c.want(entry(1, 1), head(tt.has+tt.later))
			}
		})
	}
}

// TestReadOptionsFromTheEngine: the times and hashes of a log on disk, from history and while
// following, are the same.
func TestReadOptionsFromTheEngine(t *testing.T) {
	noLeaks(t)
	h := start(t, openDisk(t), Config{})
	c := h.dial()
	c.send(`{"from":1,"time":true,"hash":true}`)
	c.want(current)
	before := time.Now()
	var followed []string
	for n := 1; n <= 20; n++ {
		c.append(n, 1)
		c.want(ack(n, n))
		followed = append(followed, c.line())
	}
	again := h.dial()
	again.send(`{"last":20,"time":true,"hash":true}`)
	again.want(followed...)
	again.want(current)
	for i, line := range followed {
		_, text, _ := strings.Cut(line, `"time":"`)
		text, _, _ = strings.Cut(text, `"`)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Before(before.Truncate(time.Microsecond)) || at.After(time.Now()) || len(text) != len("2026-11-28T09:00:00.000000Z") {
			t.Fatalf("%s: %v", line, err)
		}
		before = at
		want := timed(i+1, false, true)
		if got := strings.Replace(line, `,"time":"`+text+`"`, "", 1); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// TestUnreadableEntriesWithOptions: an entry that cannot be read has its error in its place,
// whatever members were requested, and counts.
func TestUnreadableEntriesWithOptions(t *testing.T) {
	noLeaks(t)
	log := newFakeLog()
	log.unreadable = map[uint64]error{2: fmt.Errorf("damaged"), 3: fmt.Errorf("lost"), 5: fmt.Errorf("later"), 6: fmt.Errorf("later")}
	log.put(t, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":4}`)
	h := start(t, log, Config{})
	bounded := h.dial()
	bounded.send(`{"from":2,"read":1,"hash":true}`)
	bounded.want(`{"index":2,"error":"damaged"}`, head(4))
	c := h.dial()
	c.send(`{"from":1,"time":true}`)
	c.want(timed(1, true, false), `{"index":2,"error":"damaged"}`, `{"index":3,"error":"lost"}`, timed(4, true, false), current)
	log.put(t, `{"n":5}`, `{"n":6}`, `{"n":7}`)
	c.want(`{"index":5,"error":"later"}`, `{"index":6,"error":"later"}`, timed(7, true, false))
}
