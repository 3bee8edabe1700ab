package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// writeTables prints a report as Markdown, aligned to be readable as plain text.
func writeTables(w io.Writer, r *report) {
	writePreamble(w, r)
	for _, g := range groups {
		var cells []*cellResult
		for _, c := range r.Cells {
			if c.Group == g.name {
				cells = append(cells, c)
			}
		}
		if len(cells) > 0 {
			writeGroup(w, g, cells)
		}
	}
}

func writePreamble(w io.Writer, r *report) {
	m := r.Machine
	fmt.Fprintf(w, "%s, %d cores, Linux %s, %s, %s\n", m.CPU, m.Cores, m.Kernel, m.Filesystem, m.Go)
	fmt.Fprintf(w, "append + fdatasync: 250 B p50 %.0f µs, p99 %.0f µs; 20 kB p50 %.0f µs, p99 %.0f µs\n",
		m.Sync250.P50*1e6, m.Sync250.P99*1e6, m.Sync20k.P50*1e6, m.Sync20k.P99*1e6)
	fmt.Fprintf(w, "loopback TCP alone: %.2f GB/s\n", m.Loopback/1e9)
	fmt.Fprintf(w, "%s; medians of %s rounds of %s after %s of warm-up; entries of %s B\n\n", r.Date,
		r.Settings["rounds"], r.Settings["duration"], r.Settings["warm-up"], r.Settings["entry size"])
	for _, t := range r.Targets {
		fmt.Fprintf(w, "- %s %s: %s\n", t.Name, t.Version, t.Settings)
	}
	for _, p := range r.Missing {
		fmt.Fprintf(w, "- %s: left out: %s\n", p.Name, p.Why)
	}
}

func writeGroup(w io.Writer, g group, cells []*cellResult) {
	fmt.Fprintf(w, "\n### %s\n\n", g.title)
	head := []string{"cell", "server"}
	for _, c := range g.columns {
		head = append(head, c.title)
	}
	if g.main != "" {
		direction := "more is better"
		if g.lower {
			direction = "less is better"
		}
		head = append(head, fmt.Sprintf("ours/this (%s, %s)", g.main, direction))
	}
	rows := [][]string{head}
	var notes []string
	for _, c := range cells {
		name := c.Name
		for _, t := range c.Results {
			if t.Error != "" {
				notes = append(notes, fmt.Sprintf("%s, %s: %s", c.Name, t.Target, t.Error))
			}
			if len(t.Rounds) == 0 {
				continue
			}
			row := []string{name, t.Target}
			for _, col := range g.columns {
				row = append(row, col.format(t.Median))
			}
			if g.main != "" {
				row = append(row, formatRatio(t))
			}
			rows = append(rows, row)
			name = ""
		}
	}
	writeAligned(w, rows)
	for _, n := range notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
}

func (c column) format(m measurement) string {
	v, ok := m[c.key]
	if !ok {
		return ""
	}
	s := strconv.FormatFloat(v*c.scale, 'f', c.digits, 64)
	whole, fraction, dot := strings.Cut(s, ".")
	for at := len(whole) - 3; at > 0 && whole[at-1] != '-'; at -= 3 {
		whole = whole[:at] + " " + whole[at:]
	}
	if dot {
		return whole + "." + fraction
	}
	return whole
}

func formatRatio(t *targetResult) string {
	if t.Target == "ours" || t.Ratio == 0 {
		return ""
	}
	return strconv.FormatFloat(t.Ratio, 'f', 2, 64)
}

// writeAligned prints rows as a Markdown table: two columns of text, then
// numbers.
func writeAligned(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, s := range row {
			widths[i] = max(widths[i], len([]rune(s)))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, s := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(s)))
			if i < 2 {
				line.WriteString("| " + s + pad + " ")
			} else {
				line.WriteString("| " + pad + s + " ")
			}
		}
		fmt.Fprintln(w, line.String()+"|")
		if n > 0 {
			continue
		}
		line.Reset()
		for i, width := range widths {
			if i < 2 {
				line.WriteString("|" + strings.Repeat("-", width+2))
			} else {
				line.WriteString("|" + strings.Repeat("-", width+1) + ":")
			}
		}
		fmt.Fprintln(w, line.String()+"|")
	}
}
