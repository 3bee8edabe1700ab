package server

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tcp-log-server/engine"
)

// lineCase is one case of testdata/lines; its README describes the parts.
type lineCase struct {
	name     string
	maxEntry int
	alone    bool
	turns    []turn
	stored   []string
	count    int // entries stored
	stays    bool
}

// turn is what the client sends, and what the server answers to it.
type turn struct {
	send string
	eof  bool
	want []string
}

var repeated = regexp.MustCompile(`^(".*")(?: \* (\d+))?$`)

func readLineCases(t *testing.T) (cases []*lineCase) {
	t.Helper()
	paths, err := filepath.Glob("../testdata/lines/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
			c, err := parseLineCase(strings.Split(block, "\n"))
			if err != nil {
				t.Fatalf("%s: %v in\n%s", path, err, block)
			}
			cases = append(cases, c)
		}
	}
	return cases
}

func parseLineCase(lines []string) (*lineCase, error) {
	c := &lineCase{turns: []turn{{}}}
	ended := false
	for _, line := range lines {
		word, text, _ := strings.Cut(line, " ")
		last := &c.turns[len(c.turns)-1]
		if (word == ">" || word == "+") && (len(last.want) > 0 || last.eof) {
			c.turns = append(c.turns, turn{})
			last = &c.turns[len(c.turns)-1]
		}
		switch word {
		case "==":
			c.name = text
		case "max-entry":
			c.maxEntry, _ = strconv.Atoi(text)
		case "alone":
			c.alone = true
		case ">":
			last.send += text + "\n"
		case "+":
			m := repeated.FindStringSubmatch(text)
			if m == nil {
				return nil, fmt.Errorf("%q is not a string and how often", text)
			}
			s, err := strconv.Unquote(m[1])
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, m[1])
			}
			times := 1
			if m[2] != "" {
				times, _ = strconv.Atoi(m[2])
			}
			last.send += strings.Repeat(s, times)
		case "eof":
			last.eof = true
		case "<":
			last.want = append(last.want, text)
			if ackLine.MatchString(text) {
				c.count++
			}
		case "stored":
			c.stored = append(c.stored, text)
		case "stays", "closes":
			c.stays, ended = word == "stays", true
		default:
			return nil, fmt.Errorf("%q means nothing", line)
		}
	}
	if c.name == "" || !ended {
		return nil, fmt.Errorf("no name or no end")
	}
	return c, nil
}

// ackLine is a reply that tells an index.
var ackLine = regexp.MustCompile(`^(\{"id":".*","index":)\d+\}$`)

// play sends the case over the connection. With anywhere, indices may be any.
func (c *lineCase) play(client *client, anywhere bool) {
	t := client.t
	t.Helper()
	for _, turn := range c.turns {
		if turn.send != "" {
			client.write(turn.send)
		}
		if turn.eof {
			client.half()
		}
		for _, want := range turn.want {
			got := client.line()
			if anywhere {
				got, want = ackLine.ReplaceAllString(got, "$1…}"), ackLine.ReplaceAllString(want, "$1…}")
			}
			if got != want {
				t.Fatalf("\n got %s\nwant %s", got, want)
			}
		}
	}
	if !c.stays {
		client.wantEnd()
		return
	}
	// The connection continues, and nothing else was answered.
	client.send(`{"id":"probe","entry":null}`)
	if got := client.line(); !ackLine.MatchString(got) || !strings.HasPrefix(got, `{"id":"probe",`) {
		t.Fatalf("\n got %s\nwant the reply to a write on a connection that stays", got)
	}
}

func TestLines(t *testing.T) {
	cases := readLineCases(t)
	if len(cases) < 150 {
		t.Errorf("there are %d cases, want those that there once were", len(cases))
	}
	names := make(map[string]bool)
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("there are two cases %q", c.name)
		}
		names[c.name] = true
	}
	t.Run("each alone", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				noLeaks(t)
				log := openEngine(t, engine.NewConfig(engine.Memory)) // hundreds, which another kind may take long for
				h := start(t, log, Config{MaxEntry: c.maxEntry})
				client := h.dial()
				c.play(client, false)
				client.nc.Close()
				count := c.count
				if c.stays {
					count++ // the probe
				}
				if head, _ := log.Head(t.Context()); int(head) != count {
					t.Fatalf("the log holds %d entries, want %d", head, count)
				}
				reader := h.dial()
				for i, entry := range c.stored {
					reader.send(fmt.Sprintf(`{"from":%d,"read":1}`, i+1))
					reader.want(fmt.Sprintf(`{"index":%d,"entry":%s}`, i+1, entry), head(count))
				}
			})
		}
	})
	t.Run("among others", func(t *testing.T) {
		noLeaks(t)
		hosts := make(map[int]*host)
		var stops []func()
		for _, c := range cases {
			h := hosts[c.maxEntry]
			if h == nil {
				h = start(t, openDisk(t), Config{MaxEntry: c.maxEntry})
				hosts[c.maxEntry] = h
				stops = append(stops, undisturbed(t, h))
			}
			if c.alone {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				client := h.dial()
				client.t = t
				for range 2 { // a connection that has been in use
					client.send(`{"id":"used","entry":{"used":[true]}}`)
					if line := client.line(); !ackLine.MatchString(line) {
						t.Fatalf("got %s", line)
					}
				}
				c.play(client, true)
				client.nc.Close()
			})
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// undisturbed keeps a connection that appends and follows, until stop is called. It gets
// every index once and in order, its own entries as it sent them, each after its ack, and
// no error.
func undisturbed(t *testing.T, h *host) (stop func()) {
	c := h.dial()
	c.send(`{"from":1}`)
	c.want(current)
	stopping, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- func() error {
			index := uint64(0)
			for n := 0; ; n++ {
				select {
				case <-stopping:
					if n == 0 {
						return fmt.Errorf("it appended nothing")
					}
					return nil
				default:
				}
				if _, err := fmt.Fprintf(c.nc, `{"id":"%d","entry":{"own":%d}}`+"\n", n, n); err != nil {
					return err
				}
				for acked := uint64(0); acked == 0 || index < acked; {
					line, err := c.r.ReadBytes('\n')
					if err != nil {
						return err
					}
					var m struct {
						ID    string
						Index uint64
						Error string
						Entry json.RawMessage
					}
					if err := json.Unmarshal(line, &m); err != nil {
						return err
					}
					switch {
					case m.Error != "":
						return fmt.Errorf("it got %s", line)
					case m.ID == fmt.Sprint(n) && m.Index == index+1:
						acked = m.Index
					case m.ID == "" && m.Index == index+1 && (m.Index != acked || string(m.Entry) == fmt.Sprintf(`{"own":%d}`, n)):
						index++
					default:
						return fmt.Errorf("it got %s after index %d", line, index)
					}
				}
			}
		}()
	}()
	return func() {
		close(stopping)
		if err := <-done; err != nil {
			t.Errorf("another connection was disturbed: %v", err)
		}
	}
}
