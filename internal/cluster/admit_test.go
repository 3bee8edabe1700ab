//go:build !nocluster

package cluster

import (
	"strings"
	"testing"
)

// TestDoubt: a node must not fetch its replica again if its disk might be the only one with something, or
// its disk and one other.
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
		// This node led until it was killed. The others have not elected another leader yet, which would
		// have everything that this one had acknowledged with either of them.
		{"still name a as the leader", func(b, c *report) { b.Leader, c.Leader, b.Leads = "a", "a", false }},
		// One has been elected, and the other may lack what the leader got from this node.
		{"still name b as the leader", func(b, _ *report) { b.Leads = false }},
	} {
		list := whole()
		c.change(&list[0], &list[1])
		if reason := doubt(list, 7); !strings.Contains(reason, c.want) {
			t.Errorf("the reason is %q, want %q", reason, c.want)
		}
	}
}

// TestConcerned: a node asks all nodes that have a replica or vote in JetStream's group according to the
// leader, and no others. Without the leader's word it asks all members.
func TestConcerned(t *testing.T) {
	list := func() []report {
		return []report{
			{Node: "a", ID: "1", Taking: true, Leads: true, Leader: "a", Group: map[string]string{"1": "a", "2": "b", "3": "c"},
				Peers: map[string]string{"1": "a", "2": "b", "3": "c", "4": "d"}},
			{Node: "b", ID: "2", Taking: true, Leader: "a"},
			{Node: "c", ID: "3", Taking: true, Leader: "a"},
			{Node: "d", ID: "4", Taking: true},
		}
	}
	for _, c := range []struct {
		what, own string
		change    func([]report) []report
		asked     int
		known     bool
		want      string
	}{
		{"node e is new", "5", nil, 3, true, ""},
		{"node d was there before", "4", func(l []report) []report { return l[:3] }, 3, true, ""},
		{"node c has lost its disk", "3", func(l []report) []report { return append(l[:2:2], l[3]) }, 2, true, ""},
		{"one with a replica is silent", "5", func(l []report) []report { return append(l[:2:2], l[3]) }, 2, true, "node c does not answer"},
		{"one that votes is silent", "5", func(l []report) []report { return l[:3] }, 3, true, "node d does not answer"},
		{"one that votes waits", "5", func(l []report) []report { l[3].Taking = false; return l }, 3, true, "node d does not take part"},
		{"nobody leads", "5", func(l []report) []report { l[0].Leads = false; return l }, 0, false, ""},
		{"an earlier version", "5", func(l []report) []report { l[1].ID = ""; return l }, 0, false, ""},
	} {
		l := list()
		if c.change != nil {
			l = c.change(l)
		}
		asked, known, reason := concerned(l, c.own)
		if known != c.known || known && len(asked) != c.asked || known && (reason == "") != (c.want == "") || !strings.Contains(reason, c.want) && known {
			t.Errorf("%s: asked %d, known %v, reason %q, want %d, %v and %q", c.what, len(asked), known, reason, c.asked, c.known, c.want)
		}
	}
}
