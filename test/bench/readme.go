package main

import (
	"fmt"
	"strings"
)

// readmeTable returns the README's part of a report: the appends of each server.
func readmeTable(r *report) string {
	var b strings.Builder
	b.WriteString("| appends a second, connections × in flight on each | this server | Redis Streams | NATS JetStream | the original |\n")
	b.WriteString("|---|---:|---:|---:|---:|\n")
	for _, c := range r.Cells {
		if c.Group != "append" {
			continue
		}
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(c.Name, "x", "×"))
		for _, name := range []string{"ours", "redis", "nats", "npm"} {
			figure := "–"
			if t := c.target(name); len(t.Rounds) > 0 {
				figure = thousands(t.Median["rate"])
			}
			fmt.Fprintf(&b, " %s |", figure)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// thousands formats v with a comma before every three digits.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
