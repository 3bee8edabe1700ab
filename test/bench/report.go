package main

import (
	"encoding/json"
	"os"
	"slices"
)

// measurement has the figures of one run of a cell against one server, by the
// keys of the columns below.
type measurement map[string]float64

// report has all results of a run of the bench, as in the JSON file. Tables and
// charts are made from it.
type report struct {
	Date     string            `json:"date"`
	Command  []string          `json:"command"`
	Machine  machineInfo       `json:"machine"`
	Settings map[string]string `json:"settings"`
	Targets  []targetInfo      `json:"targets"`
	Missing  []missingInfo     `json:"missing,omitempty"`
	Cells    []*cellResult     `json:"cells"`
}

type targetInfo struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Settings string `json:"settings"`
}

type missingInfo struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

type cellResult struct {
	Group   string          `json:"group"`
	Name    string          `json:"name"`
	Results []*targetResult `json:"results"`
}

type targetResult struct {
	Target string        `json:"target"`
	Rounds []measurement `json:"rounds"`
	Median measurement   `json:"median,omitempty"`
	// Ratio is ours/this by the group's main column, or 0 if there is none.
	Ratio float64 `json:"ratio,omitempty"`
	// Error says why the target has no (further) figures in this cell.
	Error string `json:"error,omitempty"`
}

// group says how the cells of a group are shown.
type group struct {
	name    string
	title   string
	main    string // the column that targets are compared by
	lower   bool   // less is better in it
	columns []column
}

type column struct {
	key    string
	title  string
	scale  float64 // multiplies the measured value, in SI units
	digits int
}

var (
	latencyColumns = []column{
		{"p50", "p50 µs", 1e6, 0}, {"p99", "p99 µs", 1e6, 0}, {"p999", "p99.9 µs", 1e6, 0},
	}
	costColumns = []column{
		{"server_cpu", "server CPU µs/op", 1e6, 2}, {"generator_cpu", "generator CPU µs/op", 1e6, 2},
	}
)

// groups are all groups of cells, in the order in which they run.
var groups = []group{
	{"append", "Append, connections × appends in flight on each", "rate", false,
		slices.Concat([]column{{"rate", "appends/s", 1, 0}}, latencyColumns, costColumns)},
	{"replay", "Replay by one reader after a restart, page cache warm", "rate", false,
		slices.Concat([]column{{"rate", "entries/s", 1, 0}, {"bytes_rate", "GB/s on the wire", 1e-9, 2}}, costColumns)},
	{"fanout", "Fan-out, from send to delivery", "p50", true,
		slices.Concat(latencyColumns, []column{{"deliveries", "deliveries/s", 1, 0}, costColumns[0]})},
	{"mixed", "Appends while readers replay", "rate", false,
		[]column{{"rate", "appends/s with readers", 1, 0}, {"rate_alone", "without", 1, 0}, {"kept", "kept", 1, 2},
			{"p99", "p99 µs with readers", 1e6, 0}, {"read_rate", "entries/s read", 1, 0}}},
	{"full", "Append to a log that holds a lot already", "rate", false,
		slices.Concat([]column{{"rate", "appends/s", 1, 0}, {"rate_empty", "into an empty log", 1, 0}, {"rate_ratio", "of it", 1, 2}}, latencyColumns)},
	{"client", "The Go client against the raw generator, on this server", "", false,
		[]column{{"raw", "generator/s", 1, 0}, {"bare", "bare Go/s", 1, 0}, {"bare_ratio", "of it", 1, 2},
			{"async", "AppendAsync/s", 1, 0}, {"async_ratio", "of it", 1, 2}, {"async_all_ratio", "with all processors", 1, 2},
			{"append", "Append/s", 1, 0}, {"append_ratio", "of it", 1, 2}, {"append_all_ratio", "with all processors", 1, 2},
			{"follow", "Follow/s", 1, 0}, {"follow_ratio", "of it", 1, 2}, {"follow_all_ratio", "with all processors", 1, 2}}},
	{"settling", "What settling costs appends", "", false,
		[]column{{"rate", "appends/s", 1, 0}, {"rate_without", "without", 1, 0}, {"p99", "p99 µs", 1e6, 0},
			{"p99_without", "without", 1e6, 0}, {"p99_ratio", "of it", 1, 2}}},
	{"safe", "Writes with conditions, against plain ones on the same log", "", false,
		slices.Concat([]column{{"rate", "entries/s", 1, 0}, {"rate_plain", "plain", 1, 0}, {"rate_ratio", "of it", 1, 2}},
			latencyColumns, []column{{"rss", "RSS MB", 1e-6, 1}})},
	{"http", "HTTP beside the protocol, on this server", "", false,
		[]column{{"rate", "a second", 1, 0}, {"rate_tcp", "protocol", 1, 0}, {"rate_ratio", "of it", 1, 2},
			{"p50", "p50 µs", 1e6, 0}, {"p50_tcp", "protocol", 1e6, 0}, {"p99", "p99 µs", 1e6, 0}, {"p99_tcp", "protocol", 1e6, 0},
			{"server_cpu", "server CPU µs/op", 1e6, 2}, {"server_cpu_tcp", "protocol", 1e6, 2}, {"server_cpu_ratio", "times", 1, 2}}},
	{"replica", "A replica on the same machine: how fast it catches up against a plain replay, and how far it is behind", "", false,
		[]column{{"rate", "a second", 1, 0}, {"rate_replay", "plain replay", 1, 0}, {"rate_alone", "without a replica", 1, 0}, {"rate_ratio", "of it", 1, 2},
			{"behind_p50", "behind p50, entries", 1, 0}, {"behind_p99", "p99", 1, 0}, {"lag_p50", "p50 ms", 1e3, 2}, {"lag_p99", "p99 ms", 1e3, 2},
			{"server_cpu", "CPU µs/op", 1e6, 2}, {"source_cpu", "source's", 1e6, 2}, {"source_cpu_alone", "without a replica", 1e6, 2}}},
	{"archive", "An archive in a directory: how fast it catches up with a log that is there, and what it costs appends", "", false,
		[]column{{"rate", "entries/s", 1, 0}, {"bytes_rate", "MB/s", 1e-6, 1}, {"rate_alone", "without an archive", 1, 0}, {"rate_ratio", "of it", 1, 2},
			{"p99", "p99 µs", 1e6, 0}, {"p99_alone", "without", 1e6, 0}, {"server_cpu", "CPU µs/op", 1e6, 2}}},
	{"large", "A small append at a time while clients keep sending entries of 16 MiB: three, or as many as the name says", "", false,
		[]column{{"p50", "p50 ms", 1e3, 2}, {"p50_alone", "alone", 1e3, 2}, {"p99", "p99 ms", 1e3, 2}, {"p99_alone", "alone", 1e3, 2},
			{"max", "max ms", 1e3, 1}, {"rate", "large entries/s", 1, 2}, {"server_cpu", "CPU s/op", 1, 2}, {"rss", "RSS MB", 1e-6, 0}}},
	{"cluster", "Three nodes on this machine, which share its processors and its disk: nats with 3 replicas, by single publishes where one append is in flight on a connection, and elsewhere by atomic batches of 1 000, one in flight beside 64x16 and four beside 256x16; redis alone", "rate", false,
		slices.Concat([]column{{"rate", "a second", 1, 0}}, latencyColumns, costColumns, []column{{"rss", "RSS MB, of the leader", 1e-6, 0}})},
	{"own", "This server alone", "", false,
		[]column{{"start", "start s", 1, 3}, {"rss", "RSS MB", 1e-6, 1}, {"rate", "appends/s", 1, 0},
			{"p50", "p50 µs", 1e6, 0}, {"p99", "p99 µs", 1e6, 0}, {"p999", "p99.9 µs", 1e6, 0},
			{"disk", "disk B/entry", 1, 1}}},
}

// groupNames are the names of all groups.
func groupNames() (names []string) {
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}

func groupNamed(name string) *group {
	for i := range groups {
		if groups[i].name == name {
			return &groups[i]
		}
	}
	return &group{name: name, title: name}
}

// only returns the report with the cells of some groups.
func (r *report) only(groups ...string) *report {
	part := *r
	part.Cells = slices.DeleteFunc(slices.Clone(r.Cells), func(c *cellResult) bool { return !slices.Contains(groups, c.Group) })
	return &part
}

// without returns the report without a target.
func (r *report) without(target string) *report {
	part := *r
	part.Targets = slices.DeleteFunc(slices.Clone(r.Targets), func(t targetInfo) bool { return t.Name == target })
	part.Cells = nil
	for _, c := range r.Cells {
		rest := *c
		rest.Results = slices.DeleteFunc(slices.Clone(c.Results), func(t *targetResult) bool { return t.Target == target })
		part.Cells = append(part.Cells, &rest)
	}
	return &part
}

// cell returns the result of a cell, which it adds if it is new.
func (r *report) cell(group, name string) *cellResult {
	for _, c := range r.Cells {
		if c.Group == group && c.Name == name {
			return c
		}
	}
	c := &cellResult{Group: group, Name: name}
	r.Cells = append(r.Cells, c)
	return c
}

func (c *cellResult) target(name string) *targetResult {
	for _, t := range c.Results {
		if t.Target == name {
			return t
		}
	}
	t := &targetResult{Target: name}
	c.Results = append(c.Results, t)
	return t
}

// summarize computes the medians and ratios of a cell from its rounds.
func (c *cellResult) summarize() {
	for _, t := range c.Results {
		t.Median = medians(t.Rounds)
	}
	main := groupNamed(c.Group).main
	if main == "" {
		return
	}
	ours := c.target("ours").Median[main]
	for _, t := range c.Results {
		if v := t.Median[main]; v > 0 {
			t.Ratio = ours / v
		}
	}
}

// medians returns the median over the rounds of each column.
func medians(rounds []measurement) measurement {
	values := make(map[string][]float64)
	for _, m := range rounds {
		for k, v := range m {
			values[k] = append(values[k], v)
		}
	}
	out := make(measurement)
	for k, v := range values {
		slices.Sort(v)
		out[k] = quantile(v, .5)
	}
	return out
}

func (r *report) save(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func loadReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(report)
	return r, json.Unmarshal(b, r)
}
