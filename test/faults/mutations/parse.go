package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutation is one change of one line.
type mutation struct {
	name string
	file string
	// in is the beginning of a line, such as that of a function. The old line is the
	// first match after it. Without in, the old line must be unique in the file.
	in       string
	old, new string // without the white space around them
	test     string // the command that is to fail
}

// parse parses the list: blocks of lines `key: value`, separated by empty lines. Lines
// that begin with # are comments.
func parse(text string) (all []mutation, err error) {
	names := make(map[string]bool)
	for block := range strings.SplitSeq(text, "\n\n") {
		m, empty := mutation{}, true
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			if line == "" || line[0] == '#' {
				continue
			}
			key, value, ok := strings.Cut(line, ":")
			to, known := map[string]*string{"name": &m.name, "file": &m.file, "in": &m.in, "old": &m.old, "new": &m.new, "test": &m.test}[key]
			if !ok || !known {
				return nil, fmt.Errorf("mutations.txt: line is %q, want one of name, file, in, old, new, test and a colon", line)
			}
			if value = strings.TrimPrefix(value, " "); key != "in" {
				value = strings.TrimSpace(value)
			}
			*to, empty = value, false
		}
		switch {
		case empty:
			continue
		case m.name == "" || m.file == "" || m.old == "" || m.test == "" || m.old == m.new:
			return nil, fmt.Errorf("mutations.txt: %+v lacks something, or changes nothing", m)
		case names[m.name]:
			return nil, fmt.Errorf("mutations.txt: there are two of the name %q", m.name)
		}
		names[m.name] = true
		all = append(all, m)
	}
	return all, nil
}

// apply returns the mutated file of the tree at root.
func (m mutation) apply(root string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	lines := bytes.Split(b, []byte("\n"))
	from := 0
	if m.in != "" {
		from = -1
		for i, line := range lines {
			if strings.HasPrefix(string(line), m.in) {
				from = i
				break
			}
		}
		if from < 0 {
			return nil, fmt.Errorf("%s: %s has no line any more that begins with %q", m.name, m.file, m.in)
		}
	}
	at := -1
	for i, line := range lines[from:] {
		if strings.TrimSpace(string(line)) != m.old {
			continue
		}
		if at >= 0 {
			return nil, fmt.Errorf("%s: %s has more than one line %q: say in which function", m.name, m.file, m.old)
		}
		at = from + i
		if m.in != "" {
			break
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("%s: %s has no line %q any more", m.name, m.file, m.old)
	}
	lines[at] = []byte(m.new)
	return bytes.Join(lines, []byte("\n")), nil
}
