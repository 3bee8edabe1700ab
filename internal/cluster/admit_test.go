//go:build !nocluster

package cluster

import (
	"strings"
	"testing"
)

// TestDoubt: a node must not fetch its replica again unless nothing can be on its disk alone, or on its
// own and one other.
func TestDoubt(t *testing.T) {
	whole := func() []report {
		return []report{
			{Node: "b", Taking: true, Log: true, Messages: 7, Leader: "b", Leads: true, Current: true},
			{Node: "c", Taking: true, Log: true, Messages: 7, Leader: "b", Current: true},
		}
	}
	if reason := doubt(whole(), 7); reason != "" {
		t.Errorf("nodes that are whole: %s", reason)
	}
	for _, c := range []struct {
		want   string
		change func(b, c *report)
	}{
		{"damaged", func(_, c *report) { c.Problem = "a flipped bit" }},
		{"no replica either", func(_, c *report) { c.Taking = false }},
		{"still fetching", func(b, _ *report) { b.Fetching = true }},
		{"do not agree on a leader", func(_, c *report) { c.Leader = "c" }},
		{"do not agree on a leader", func(b, c *report) { b.Leader, c.Leader = "", "" }},
		{"not caught up", func(_, c *report) { c.Current = false }},
		{"not caught up", func(b, _ *report) { b.Messages = 6 }},
		// This node led until it was killed. The others have not elected another leader yet, who would have
		// what this one had acknowledged with either of them.
		{"still name a as the leader", func(b, c *report) { b.Leader, c.Leader, b.Leads = "a", "a", false }},
		// One has been elected, and the other may lack what that had from this one.
		{"still name b as the leader", func(b, _ *report) { b.Leads = false }},
	} {
		list := whole()
		c.change(&list[0], &list[1])
		if reason := doubt(list, 7); !strings.Contains(reason, c.want) {
			t.Errorf("the reason is %q, want %q", reason, c.want)
		}
	}
}
