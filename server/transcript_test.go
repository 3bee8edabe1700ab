package server

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const transcripts = "../testdata/transcripts"

// step is one line of a transcript: docs/PROTOCOL.md explains them.
type step struct {
	number int // of the line
	conn   string
	sign   string // >, >|, <, =
	text   string
}

var stepLine = regexp.MustCompile(`^([A-Z]?)(>\||>|<|=)(?: (.*))?$`)

// readTranscript returns the steps of a transcript and its server's configuration.
func readTranscript(t *testing.T, path string) (steps []step, config Config) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := fmt.Sscanf(line, "! max-entry %d", &config.MaxEntry); err == nil {
			continue
		}
		if name, ok := strings.CutPrefix(line, "! token "); ok {
			if _, rights := guests(sha256.Sum256([]byte(name))); rights == (Rights{}) {
				t.Fatalf("%s:%d: there is no token %q", path, i+1, name)
			}
			config.Tokens = guests
			continue
		}
		m := stepLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s:%d: %q is no line of a transcript", path, i+1, line)
		}
		steps = append(steps, step{number: i + 1, conn: m[1], sign: m[2], text: m[3]})
	}
	return steps, config
}

// transcriptTimes are the times that "T1", "T2" … stand for in a transcript, each the first one that
// occurred in its place.
type transcriptTimes map[string]string

var (
	timeName = regexp.MustCompile(`"T\d"`)
	aTime    = `("\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")`
)

// fill returns the text with the times in place of their names.
func (times transcriptTimes) fill(text string) string {
	return timeName.ReplaceAllStringFunc(text, func(name string) string { return times[name] })
}

// match reports whether the line is that of the transcript.
func (times transcriptTimes) match(line, text string) bool {
	var fresh []string
	pattern := timeName.ReplaceAllStringFunc(regexp.QuoteMeta(text), func(name string) string {
		if at, ok := times[name]; ok {
			return regexp.QuoteMeta(at)
		}
		fresh = append(fresh, name)
		return aTime
	})
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(line)
	if m == nil {
		return false
	}
	for i, name := range fresh {
		times[name] = m[i+1]
	}
	return true
}

func TestTranscripts(t *testing.T) {
	for _, path := range transcriptFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			noLeaks(t)
			steps, config := readTranscript(t, path)
			h := start(t, openDisk(t), config)
			clients := make(map[string]*client)
			over := make(map[string]bool)
			times := make(transcriptTimes)
			for i := 0; i < len(steps); i++ {
				s := steps[i]
				c := clients[s.conn]
				if c == nil {
					c = h.dial()
					clients[s.conn] = c
				}
				switch {
				case s.text == "EOF" && s.sign == ">":
					c.half()
				case s.sign == ">" || s.sign == ">|":
					// Consecutive lines go out together.
					packet := ""
					for ; ; i++ {
						packet += steps[i].text
						if steps[i].sign == ">" {
							packet += "\n"
						}
						if i+1 == len(steps) || steps[i+1].conn != s.conn || steps[i+1].sign[0] != '>' || steps[i+1].text == "EOF" {
							break
						}
					}
					c.write(times.fill(packet))
				case s.sign == "<":
					if got := c.line(); !times.match(got, s.text) {
						t.Fatalf("%s:%d:\n got %s\nwant %s", path, s.number, got, s.text)
					}
				case s.sign == "=" && s.text == "close":
					c.wantEnd()
					over[s.conn] = true
				default:
					t.Fatalf("%s:%d: %q is no line of a transcript", path, s.number, s.text)
				}
			}
			// Nothing arrives that is not in the transcript.
			for name, c := range clients {
				if !over[name] {
					c.half()
					c.wantEnd()
				}
			}
		})
	}
}

func transcriptFiles(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(transcripts + "/*.txt")
	if err != nil || len(paths) < 8 {
		t.Fatalf("found %d transcripts in %s: %v", len(paths), transcripts, err)
	}
	return paths
}

// Every transcript is in the document, under its name, as in its file.
func TestTranscriptsInTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	included := regexp.MustCompile("(?s)`testdata/transcripts/([^`]+)`:\n\n```text\n(.*?)```\n")
	shown := make(map[string]string)
	for _, m := range included.FindAllStringSubmatch(string(doc), -1) {
		if _, twice := shown[m[1]]; twice {
			t.Errorf("docs/PROTOCOL.md shows %s twice", m[1])
		}
		shown[m[1]] = m[2]
	}
	for _, path := range transcriptFiles(t) {
		name := filepath.Base(path)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch got, ok := shown[name]; {
		case !ok:
			t.Errorf("docs/PROTOCOL.md does not show %s", name)
		case got != string(text):
			t.Errorf("docs/PROTOCOL.md shows %s differently:\n%s", name, got)
		}
		delete(shown, name)
	}
	for name := range shown {
		t.Errorf("docs/PROTOCOL.md shows %s, but there is no such file", name)
	}
}
