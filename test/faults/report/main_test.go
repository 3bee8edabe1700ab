package main

import (
	"strings"
	"testing"
)

// TestReport: each row counts once, as does a test that fails outside its subtests, and
// a run without rows has failed.
func TestReport(t *testing.T) {
	for name, tt := range map[string]struct {
		in, end string
		says    []string
		failed  int
	}{
		"all kinds": {`
{"Action":"run","Test":"TestA"}
{"Action":"run","Test":"TestA/x"}
{"Action":"run","Test":"TestA/x/deep"}
{"Action":"pass","Test":"TestA/x/deep","Elapsed":1}
{"Action":"pass","Test":"TestA/x","Elapsed":1}
{"Action":"run","Test":"TestA/y"}
{"Action":"output","Test":"TestA/y","Output":"    y_test.go:3: needs root\n"}
{"Action":"skip","Test":"TestA/y"}
{"Action":"run","Test":"TestA/z"}
{"Action":"output","Test":"TestA/z/deep","Output":"what was wrong\n"}
{"Action":"fail","Test":"TestA/z/deep"}
{"Action":"fail","Test":"TestA/z","Elapsed":2}
{"Action":"fail","Test":"TestA","Elapsed":3}
{"Action":"run","Test":"TestB"}
{"Action":"pass","Test":"TestB","Elapsed":1}
{"Action":"fail","Elapsed":5}`,
			"2 passed, 1 failed, 1 skipped\n", []string{"needs root", "what was wrong", "TestB"}, 1},
		"the test above its rows fails": {`
{"Action":"run","Test":"TestA"}
{"Action":"run","Test":"TestA/x"}
{"Action":"pass","Test":"TestA/x"}
{"Action":"output","Test":"TestA","Output":"at the end\n"}
{"Action":"fail","Test":"TestA"}
{"Action":"fail"}`,
			"1 passed, 1 failed, 0 skipped\n", []string{"at the end"}, 1},
		"the run fails without a test": {`
{"Action":"run","Test":"TestA"}
{"Action":"pass","Test":"TestA"}
{"Action":"output","Output":"panic: test timed out\n"}
{"Action":"fail"}`,
			"1 passed, 1 failed, 0 skipped\n", []string{"timed out", "go test"}, 1},
		"nothing was run": {"build failed", "0 passed, 0 failed, 0 skipped\n", nil, 1},
	} {
		var out strings.Builder
		failed, err := report(strings.NewReader(strings.TrimSpace(tt.in)), &out)
		if err != nil || failed != tt.failed || !strings.HasSuffix(out.String(), tt.end) {
			t.Errorf("%s: %d failed (%v), printed\n%s", name, failed, err, out.String())
		}
		for _, says := range tt.says {
			if !strings.Contains(out.String(), says) {
				t.Errorf("%s: printed\n%s, want %q in it", name, out.String(), says)
			}
		}
	}
}
