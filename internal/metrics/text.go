package metrics

import (
	"math"
	"strconv"
	"strings"
)

// contentType is the type of Prometheus's text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// page is an answer to a scrape under construction, in Prometheus's text format.
type page struct{ b []byte }

// family begins a family of metrics called name; its samples follow. kind is gauge, counter or
// histogram; help is one line.
func (p *page) family(name, kind, help string) {
	p.b = append(p.b, "# HELP "...)
	p.b = append(p.b, name...)
	p.b = append(p.b, ' ')
	p.b = append(p.b, helpEscapes.Replace(help)...)
	p.b = append(p.b, "\n# TYPE "...)
	p.b = append(p.b, name...)
	p.b = append(p.b, ' ')
	p.b = append(p.b, kind...)
	p.b = append(p.b, '\n')
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// sample adds a sample. labels are names and values in turn.
func (p *page) sample(name string, value float64, labels ...string) {
	p.b = append(p.b, name...)
	for i := 0; i < len(labels); i += 2 {
		p.b = append(p.b, "{,"[min(i, 1)])
		p.b = append(p.b, labels[i]...)
		p.b = append(p.b, `="`...)
		p.b = append(p.b, labelEscapes.Replace(labels[i+1])...)
		p.b = append(p.b, '"')
	}
	if len(labels) > 0 {
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, ' ')
	p.b = append(p.b, number(value)...)
	p.b = append(p.b, '\n')
}

// gauge adds a family of one sample that goes up and down.
func (p *page) gauge(name, help string, value float64) {
	p.family(name, "gauge", help)
	p.sample(name, value)
}

// counter adds a family of one sample that only goes up.
func (p *page) counter(name, help string, value uint64) {
	p.family(name, "counter", help)
	p.sample(name, float64(value))
}

// number formats a value. Whole numbers are written in full, so that no digit of an index or a
// count is lost to an exponent.
func number(value float64) string {
	switch {
	case value == math.Trunc(value) && math.Abs(value) < 1<<53:
		return strconv.FormatInt(int64(value), 10)
	case math.IsInf(value, 1):
		return "+Inf"
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}
