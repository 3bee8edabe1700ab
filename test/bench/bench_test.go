package main

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary run as the null server too, as the bench does.
func TestMain(m *testing.M) {
	size := flag.Int("null", 0, "be the null server, with entries of so many bytes")
	flag.Parse()
	if *size > 0 {
		runNullServer(*size)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func testRunner(t *testing.T) (*runner, *target) {
	t.Helper()
	server, err := null(200)
	if err != nil {
		t.Fatal(err)
	}
	s := settings{rounds: 2, duration: 100 * time.Millisecond, warmup: 20 * time.Millisecond,
		entrySize: 200, replay: 20_000, bigReplay: 2000}
	return &runner{settings: s, temp: t.TempDir(), report: new(report), progress: io.Discard}, server
}

func TestCellsAgainstTheNullServer(t *testing.T) {
	r, server := testRunner(t)
	cells, err := selectCells(allCells(r.settings), "append/1x1,append/64x16,replay")
	if err != nil {
		t.Fatal(err)
	}
	for i := range cells {
		cells[i].once = cells[i].group != "append"
	}
	if err := r.run(cells, []*target{server}); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.report.Cells {
		res := c.target("null")
		if res.Error != "" || res.Median["rate"] <= 0 {
			t.Errorf("%s %s: %v %s", c.Group, c.Name, res.Median, res.Error)
		}
		if c.Group == "append" && (len(res.Rounds) != 2 || res.Median["p50"] <= 0 || res.Median["p99"] < res.Median["p50"]) {
			t.Errorf("%s: %+v", c.Name, res)
		}
	}
}

func TestMixedCell(t *testing.T) {
	r, server := testRunner(t)
	m, err := mixedCell(2, 4, 2).run(r, server)
	if err != nil {
		t.Fatal(err)
	}
	if m["rate"] <= 0 || m["rate_alone"] <= 0 || m["read_rate"] <= 0 {
		t.Errorf("measured %v", m)
	}
}

func TestFillSendsExactlyWhatWasAskedFor(t *testing.T) {
	r, server := testRunner(t)
	err := r.withServer(server, nil, func(p *process) error {
		if err := fillLog(server, p, 12_345, 200); err != nil {
			return err
		}
		return converse(p.addr, []byte("{\"from\":1,\"read\":1}\n"), `{"head":12345}`)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSelectCells(t *testing.T) {
	all := allCells(settings{})
	for patterns, want := range map[string]int{"append": 6, "append,64x16": 8, "64x*": 8, "append/64x*,fanout": 3} {
		got, err := selectCells(all, patterns)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d cells, %v, want %d", patterns, len(got), err, want)
		}
	}
	if _, err := selectCells(all, "appends"); err == nil {
		t.Error("accepted a cell that doesn't exist")
	}
}

func TestTablesAndChartOfAFixedReport(t *testing.T) {
	r, err := loadReport(filepath.Join("testdata", "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cells {
		c.summarize()
	}
	if got := r.cell("append", "64x16").target("redis").Ratio; got != 1.5 {
		t.Errorf("ratio %v, want 1.5", got)
	}
	var tables strings.Builder
	writeTables(&tables, r)
	for _, want := range []string{"300 000", "200 000", "1.50", "npm: left out: no npm", "64x16, nats: it broke"} {
		if !strings.Contains(tables.String(), want) {
			t.Errorf("tables lack %q:\n%s", want, tables.String())
		}
	}
	chart := drawChart(r)
	for _, want := range []string{"300 000", "(ours 1.50×)", "prefers-color-scheme: dark", `width="440.0"`} {
		if !strings.Contains(chart, want) {
			t.Errorf("chart lacks %q", want)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(chart)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("chart is no XML: %v", err)
		}
	}
}

func TestMediansTakeEachColumnByItself(t *testing.T) {
	m := medians([]measurement{{"rate": 3, "p50": 1}, {"rate": 1, "p50": 2}, {"rate": 2}})
	if m["rate"] != 2 || m["p50"] != 1.5 {
		t.Errorf("medians are %v", m)
	}
}
