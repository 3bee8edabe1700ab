package cli

import (
	"fmt"
	"strings"
	"testing"
)

// TestChecksums: an entry that is read back must be the one that was sent, at its index.
func TestChecksums(t *testing.T) {
	of := func(change func(entries []string) []string) *checksums {
		var entries []string
		for n := range 3000 {
			entries = append(entries, fmt.Sprint(n))
		}
		p := newChecksums(100)
		for _, e := range change(entries) {
			p.add([]byte(e))
		}
		return p
	}
	same := func(e []string) []string { return e }
	if err := of(same).compare(of(same)); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		says   string
		change func(e []string) []string
	}{
		{"from index 1125 to 2148", func(e []string) []string { e[1030] = "x"; return e }},
		{"from index 101 to 1124", func(e []string) []string { e[0], e[1] = e[1], e[0]; return e }},
		{"from index 2149 on", func(e []string) []string { e[2999] = "x"; return e }},
		{"from index 2149 on", func(e []string) []string { return e[:2999] }},
		{"from index 2149 on", func(e []string) []string { return append(e, "x") }},
		{"from index 101 to 1124", func([]string) []string { return nil }},
	} {
		if err := of(same).compare(of(tt.change)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q", err, tt.says)
		}
	}
}
