package main

import (
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
)

// The chart is one column of horizontal bars, grouped by cell. The figures of
// different cells differ by up to three orders of magnitude, so each cell has its
// own scale: its longest bar is its largest figure. Every bar is labelled with its
// figure.

const (
	chartWidth  = 860
	chartLeft   = 210 // left end of the bars
	chartBar    = 440 // the longest bar
	barHeight   = 15
	barStep     = 18
	cellGap     = 12
	titleHeight = 40
)

// chartColors has a color for each target, of similar contrast on white and on black.
var chartColors = map[string]string{
	"ours": "#2f7ed8", "redis": "#d8604a", "nats": "#3a9d5d", "npm": "#c08a1e",
}

const chartStyle = `<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .note { fill: #59636e; font-size: 12px; }
  .figure { font-variant-numeric: tabular-nums; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
  }
</style>
`

// drawChart draws a report as an SVG image.
func drawChart(r *report) string {
	var body strings.Builder
	y := drawLegend(&body, r)
	for _, g := range groups {
		if g.main == "" {
			continue
		}
		drawn := false
		for _, c := range r.Cells {
			if c.Group != g.name || len(barsOf(g, c)) == 0 {
				continue
			}
			if !drawn {
				y += titleHeight
				fmt.Fprintf(&body, "<text class=\"title\" x=\"12\" y=\"%d\">%s</text>\n", y-14, html.EscapeString(chartTitle(g)))
				drawn = true
			}
			y = drawCell(&body, g, c, y)
		}
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n%s%s</svg>\n",
		chartWidth, y, chartWidth, y, chartStyle, body.String())
}

func chartTitle(g group) string {
	i := slices.IndexFunc(g.columns, func(c column) bool { return c.key == g.main })
	if g.lower {
		return g.title + ": " + g.columns[i].title + ", shorter is better"
	}
	return g.title + ": " + g.columns[i].title + ", longer is better"
}

// barsOf lists the results of a cell that have a figure to draw. It leaves out the
// null server, at whose scale the others could not be compared.
func barsOf(g group, c *cellResult) (out []*targetResult) {
	for _, t := range c.Results {
		if t.Median[g.main] > 0 && t.Target != "null" {
			out = append(out, t)
		}
	}
	return out
}

func drawLegend(b *strings.Builder, r *report) (y int) {
	x := 12
	for _, t := range r.Targets {
		if t.Name == "null" {
			continue
		}
		label := strings.TrimSpace(t.Name + " " + t.Version)
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"10\" width=\"12\" height=\"12\" rx=\"2\" fill=\"%s\"/>\n", x, colorOf(t.Name))
		fmt.Fprintf(b, "<text x=\"%d\" y=\"21\">%s</text>\n", x+18, html.EscapeString(label))
		x += 40 + 8*len(label)
	}
	fmt.Fprintf(b, "<text class=\"note\" x=\"12\" y=\"42\">%s, %d cores, %s; each cell has its own scale</text>\n",
		html.EscapeString(r.Machine.CPU), r.Machine.Cores, html.EscapeString(r.Machine.Filesystem))
	return 48
}

func drawCell(b *strings.Builder, g group, c *cellResult, y int) int {
	bars := barsOf(g, c)
	i := slices.IndexFunc(g.columns, func(col column) bool { return col.key == g.main })
	longest := 0.0
	for _, t := range bars {
		longest = max(longest, t.Median[g.main])
	}
	fmt.Fprintf(b, "<text x=\"12\" y=\"%d\">%s</text>\n", y+12, html.EscapeString(c.Name))
	for _, t := range bars {
		width := max(1, t.Median[g.main]/longest*chartBar)
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%s\" height=\"%d\" rx=\"2\" fill=\"%s\"><title>%s</title></rect>\n",
			chartLeft, y, strconv.FormatFloat(width, 'f', 1, 64), barHeight, colorOf(t.Target), html.EscapeString(t.Target))
		label := g.columns[i].format(t.Median)
		if t.Target != "ours" && t.Ratio > 0 {
			label += fmt.Sprintf("  (ours %.2f×)", t.Ratio)
		}
		fmt.Fprintf(b, "<text class=\"figure\" x=\"%.1f\" y=\"%d\">%s</text>\n", chartLeft+width+6, y+12, html.EscapeString(label))
		y += barStep
	}
	return y + cellGap
}

func colorOf(target string) string {
	if c, ok := chartColors[target]; ok {
		return c
	}
	return "#777"
}
