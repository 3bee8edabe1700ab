package cluster

import (
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestParseMembers(t *testing.T) {
	want := []Member{{"a", "host1:6222"}, {"b-2", "[::1]:6222"}, {"c", "10.0.0.3:6222"}}
	if got, err := ParseMembers("a=host1:6222, b-2=[::1]:6222,c=10.0.0.3:6222"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, c := range []struct{ members, want string }{
		{"", `found "" among the nodes, want name=host:port`},
		{"a=h:1,b", `found "b" among the nodes, want name=host:port`},
		{"a=h:1,b=h:2", "found 2 nodes, want 1, 3 or 5"},
		{"a=h:1,b=h:2,c=h:3,d=h:4", "found 4 nodes, want 1, 3 or 5"},
		{"A=h:1", `found a node with the name "A", want up to 32 of a to z, 0 to 9 and dashes`},
		{"=h:1", `found a node with the name "", want`},
		{"a=h:1,a=h:2,c=h:3", `found two nodes with the name "a", want each name once`},
		{"a=h:1,b=h:1,c=h:3", "nodes a and b both have the address h:1, want one each"},
		{"a=h", `node a has the address "h", want host:port, like host1:6222`},
		{"a=:1", `node a has the address ":1", want host:port, like host1:6222`},
		{"a=h:0", `node a has the address "h:0", want host:port, like h:6222`},
		{"a=h:65536", `node a has the address "h:65536", want host:port`},
		{"a=h:http", `node a has the address "h:http", want host:port`},
	} {
		if _, err := ParseMembers(c.members); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseMembers(%q): %v, want an error with %q", c.members, err, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{
		Members: []Member{{"a", "127.0.0.1:1"}, {"b", "localhost:2"}, {"c", "[::1]:3"}},
		Name:    "a", Dir: "dir", Secret: make([]byte, 16), Logger: zerolog.Nop(),
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	exposed := func(c *Config) { c.Members = []Member{{"a", "127.0.0.1:1"}, {"b", "10.0.0.2:2"}, {"c", "[::1]:3"}} }
	for _, c := range []struct {
		change func(*Config)
		want   string // "" for no error
	}{
		{func(c *Config) { c.Members = c.Members[:2] }, "found 2 nodes"},
		{func(c *Config) { c.Name = "" }, `CLUSTER_NODE says which of a, b, c this is`},
		{func(c *Config) { c.Name = "d" }, `this node is "d", want one of a, b, c`},
		{func(c *Config) { c.Dir = "" }, "no directory"},
		{func(c *Config) { c.Secret = c.Secret[:15] }, "secret has 15 bytes, want 16 or more"},
		{func(c *Config) { c.Members, c.Secret = c.Members[:1], nil }, ""},
		{func(c *Config) { c.MaxPayload = 1 << 30 }, "largest message is 1073741824 bytes"},
		{exposed, "node b is at 10.0.0.2:2, which other machines can reach"},
		{func(c *Config) { exposed(c); c.Insecure = true }, ""},
	} {
		config := good
		c.change(&config)
		err := config.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
