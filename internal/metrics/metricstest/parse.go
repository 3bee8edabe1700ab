// Package metricstest parses Prometheus's text format for tests. It also refuses bad habits that
// Prometheus accepts.
package metricstest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Scrape is the content of one page.
type Scrape struct {
	// Samples are the values by name and labels, as written: `errors_total{kind="accept"}`.
	Samples map[string]float64
	// Types are gauge, counter or histogram, by family name.
	Types map[string]string
}

var (
	metaLine   = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)$`)
	sampleLine = regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{[a-z_]+="(?:[^"\\]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\]|\\["\\n])*")*\})? (\S+)$`)
	leLabel    = regexp.MustCompile(`^\{le="([^"]+)"\}$`)
)

// Parse reads a page. Each family must have its help, its type and then its samples, all together
// and only once. Counters must end in _total. The buckets of a histogram must be ascending and
// cumulative, and agree with its count.
func Parse(text string) (Scrape, error) {
	p := parser{Scrape: Scrape{Samples: make(map[string]float64), Types: make(map[string]string)}}
	if !strings.HasSuffix(text, "\n") {
		return p.Scrape, fmt.Errorf("the last line has no end: %.80q", text[strings.LastIndexByte(text, '\n')+1:])
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := p.line(line); err != nil {
			return p.Scrape, fmt.Errorf("line %d: %w: %.120q", i+1, err, line)
		}
	}
	return p.Scrape, p.end()
}

// parser is the state of parsing a page.
type parser struct {
	Scrape
	family, kind string
	samples      int
	helped       string // family of the last help line

	// For a histogram.
	bound, below, count float64
	sums, counts        int
}

func (p *parser) line(line string) error {
	if m := metaLine.FindStringSubmatch(line); m != nil {
		switch {
		case m[1] == "HELP":
			if err := p.end(); err != nil {
				return err
			}
			p.helped, p.family = m[2], ""
			return nil
		case m[2] != p.helped:
			return fmt.Errorf("a type without its help before it")
		}
		return p.begin(m[2], m[3])
	}
	m := sampleLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("neither help nor type nor a sample")
	}
	value, err := strconv.ParseFloat(m[3], 64)
	if err != nil || math.IsNaN(value) {
		return fmt.Errorf("a value that is no number")
	}
	if _, twice := p.Samples[m[1]+m[2]]; twice {
		return fmt.Errorf("a sample twice")
	}
	p.Samples[m[1]+m[2]] = value
	p.samples++
	return p.sample(m[1], m[2], value)
}

// begin starts a family.
func (p *parser) begin(name, kind string) error {
	if _, twice := p.Types[name]; twice {
		return fmt.Errorf("a family twice")
	}
	switch {
	case kind != "gauge" && kind != "counter" && kind != "histogram":
		return fmt.Errorf("a type that there is not")
	case (kind == "counter") != strings.HasSuffix(name, "_total"):
		return fmt.Errorf("counters end in _total, and nothing else does")
	}
	p.Types[name] = kind
	p.family, p.kind, p.samples = name, kind, 0
	p.bound, p.below, p.sums, p.counts = math.Inf(-1), 0, 0, 0
	return nil
}

// sample checks the place of a sample in its family.
func (p *parser) sample(name, labels string, value float64) error {
	if p.kind == "counter" && value < 0 {
		return fmt.Errorf("a counter below 0")
	}
	if p.kind != "histogram" || p.family == "" {
		if name != p.family {
			return fmt.Errorf("a sample outside of its family")
		}
		return nil
	}
	switch name {
	case p.family + "_sum":
		p.sums++
	case p.family + "_count":
		p.counts++
		p.count = value
	case p.family + "_bucket":
		m := leLabel.FindStringSubmatch(labels)
		if m == nil {
			return fmt.Errorf("a bucket without its bound")
		}
		bound, err := strconv.ParseFloat(m[1], 64)
		if err != nil || bound <= p.bound {
			return fmt.Errorf("a bound that does not ascend")
		}
		if value < p.below {
			return fmt.Errorf("a bucket that is not cumulative")
		}
		p.bound, p.below = bound, value
	default:
		return fmt.Errorf("a sample outside of its family")
	}
	return nil
}

// end ends a family.
func (p *parser) end() error {
	switch {
	case p.family == "":
		return nil
	case p.samples == 0:
		return fmt.Errorf("family %s has no samples", p.family)
	case p.kind == "histogram" && (p.sums != 1 || p.counts != 1 || !math.IsInf(p.bound, 1) || p.below != p.count):
		return fmt.Errorf("histogram %s is not whole: its last bucket is %v with %v, its count %v", p.family, p.bound, p.below, p.count)
	}
	return nil
}
