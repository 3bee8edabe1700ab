// Command report summarizes the output of `go test -json`: a line for each row of the
// fault matrix, which is a test or, if it has any, each of its direct subtests; the
// output of failed ones; and `N passed, N failed, N skipped` at the end. It exits with 1
// if any failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	failed, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// line is a line of `go test -json`.
type line struct {
	Action, Test, Output string
	Elapsed              float64
}

// row is a row of the matrix.
type row struct {
	output   []string
	subtests int // rows below it, which count instead of it
	failures int // failed ones among them
}

// report reads in to its end and returns how many rows failed.
func report(in io.Reader, out io.Writer) (failed int, err error) {
	rows := make(map[string]*row)
	at := func(name string) *row {
		if rows[name] == nil {
			rows[name] = &row{}
		}
		return rows[name]
	}
	var passed, skipped int
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			// Output of the go command itself: it could not build the tests.
			at("").output = append(at("").output, lines.Text()+"\n")
			continue
		}
		name, top := rowOf(l.Test)
		r := at(name)
		switch l.Action {
		case "run":
			if l.Test == name && name != top {
				at(top).subtests++
			}
		case "output", "build-output":
			r.output = append(r.output, l.Output)
		case "pass", "fail", "skip":
			whole := l.Test == "" && l.Action == "fail" && failed == 0 // the run has failed, but no test has
			if l.Test != name || l.Test == "" && !whole || r.subtests > 0 && (l.Action != "fail" || r.failures > 0) {
				continue
			}
			if whole {
				name = "go test"
			}
			switch l.Action {
			case "pass":
				passed++
				fmt.Fprintf(out, "passed   %-48s %6.1f s\n", name, l.Elapsed)
			case "skip":
				skipped++
				fmt.Fprintf(out, "skipped  %-48s %s\n", name, reason(r.output))
			case "fail":
				failed++
				at(top).failures++
				fmt.Fprintf(out, "failed   %-48s %6.1f s\n%s", name, l.Elapsed, strings.Join(r.output, ""))
			}
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if passed+failed+skipped == 0 {
		return 1, lines.Err()
	}
	return failed, lines.Err()
}

// rowOf returns the row of a test, and the top-level test of the row.
func rowOf(test string) (name, top string) {
	parts := strings.SplitN(test, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/"), parts[0]
}

// reason returns why a test was skipped: the first text that it printed.
func reason(output []string) string {
	for _, s := range output {
		s = strings.TrimSpace(s)
		if s != "" && !strings.HasPrefix(s, "===") && !strings.HasPrefix(s, "---") {
			if _, after, ok := strings.Cut(s, ".go:"); ok {
				_, s, _ = strings.Cut(after, ": ")
			}
			return s
		}
	}
	return ""
}
