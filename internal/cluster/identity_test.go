package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	members := func(s string) []Member {
		m, err := ParseMembers(s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	three := members("a=h:1,b=h:2,c=h:3")
	first := Config{Members: three, Name: "a", Stream: "log"}
	for _, c := range []struct {
		name  string
		first Config // claims the directory, if it has members
		file  string // otherwise present in the directory
		then  Config
		want  string // "" if it may use the directory
	}{
		{"an empty directory", Config{}, "", first, ""},
		{"the same", first, "", first, ""},
		{"other addresses, another order", first, "", Config{Members: members("c=k:3,b=k:2,a=k:1"), Name: "a", Stream: "log"}, ""},
		{"two nodes more", first, "", Config{Members: members("a=h:1,b=h:2,c=h:3,d=h:4,e=h:5"), Name: "a", Stream: "log"}, ""},
		{"another node", first, "", Config{Members: three, Name: "b", Stream: "log"}, "it belongs to node a, and this is node b: start it as a"},
		{"another stream", first, "", Config{Members: three, Name: "a", Stream: "other"}, "its log is the stream log, and this node's is other"},
		{"another cluster", first, "", Config{Members: members("a=h:1,x=h:2,y=h:3"), Name: "a", Stream: "log"}, "its cluster has the nodes a, b, c, and this one has a, x, y"},
		{"fewer nodes", first, "", Config{Members: three[:1], Name: "a", Stream: "log"}, "its cluster has the nodes a, b, c, and this one has a:"},
		{"a node that was alone", Config{Members: three[:1], Name: "a", Stream: "log"}, "", first, "a cluster of one node, which cannot grow"},
		{"a single server's directory", Config{}, "segments", first, "it has segments and no file NODE, so it is not a node's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.first.Dir, c.then.Dir = dir, dir
			if c.first.Members != nil {
				if err := c.first.claimIdentity(); err != nil {
					t.Fatal(err)
				}
			}
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(dir, c.file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := c.then.claimIdentity()
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrOtherNode) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
