package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// pair measures two builds of this server in turns, so that changes of the machine
// affect both, and compares them round by round.
func (o *options) pair(temp string, w io.Writer) error {
	cells, err := selectCells(allCells(o.settings), o.cells)
	if err != nil {
		return err
	}
	base, err := ours(o.base, temp)
	if err != nil {
		return err
	}
	base.name = "base"
	tree, err := ours(o.server, temp)
	if err != nil {
		return err
	}
	r := &runner{settings: o.settings, temp: temp, report: new(report), progress: os.Stderr, again: true}
	if err := r.run(cells, []*target{base, tree}); err != nil {
		return err
	}
	return writePairs(w, r.report)
}

// writePairs prints, for each cell, the medians of both builds and the median of the
// rounds' ratios, tree to base, with the quartiles.
func writePairs(w io.Writer, r *report) error {
	var failed error
	rows := [][]string{{"cell", "rate, tree/base", "quartiles", "base/s", "tree/s", "p99, tree/base", "base µs", "tree µs", "server CPU, tree/base"}}
	for _, c := range r.Cells {
		base, tree := c.target("base"), c.target("ours")
		for _, t := range []*targetResult{base, tree} {
			if t.Error != "" {
				failed = errors.Join(failed, fmt.Errorf("%s %s, %s: %s", c.Group, c.Name, t.Target, t.Error))
			}
		}
		if len(base.Rounds) != len(tree.Rounds) || len(base.Rounds) == 0 {
			continue
		}
		rate := ratios(base, tree, "rate")
		number := func(m measurement, key, format string, scale float64) string {
			if v, ok := m[key]; ok {
				return fmt.Sprintf(format, v*scale)
			}
			return ""
		}
		row := []string{c.Group + " " + c.Name, fmt.Sprintf("%.3f", quantile(rate, .5)),
			fmt.Sprintf("%.3f–%.3f", quantile(rate, .25), quantile(rate, .75)),
			number(base.Median, "rate", "%.0f", 1), number(tree.Median, "rate", "%.0f", 1)}
		if p99 := ratios(base, tree, "p99"); len(p99) > 0 {
			row = append(row, fmt.Sprintf("%.3f", quantile(p99, .5)), number(base.Median, "p99", "%.0f", 1e6), number(tree.Median, "p99", "%.0f", 1e6))
		} else {
			row = append(row, "", "", "")
		}
		rows = append(rows, append(row, fmt.Sprintf("%.3f", quantile(ratios(base, tree, "server_cpu"), .5))))
	}
	writeAligned(w, rows)
	return failed
}

// ratios returns tree/base of one column, round by round, in ascending order.
func ratios(base, tree *targetResult, key string) (out []float64) {
	for i, m := range base.Rounds {
		if v := m[key]; v > 0 {
			out = append(out, tree.Rounds[i][key]/v)
		}
	}
	slices.Sort(out)
	return out
}

// quantile returns the q-quantile of sorted values, interpolated; 0 if there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	next := min(i+1, len(sorted)-1)
	return sorted[i] + (at-float64(i))*(sorted[next]-sorted[i])
}
