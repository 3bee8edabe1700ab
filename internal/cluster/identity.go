package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// identityFile says which node of which cluster a directory belongs to.
const identityFile = "NODE"

type identity struct {
	Node    string   `json:"node"`
	Members []string `json:"members"` // names: addresses may change
	Stream  string   `json:"stream"`
}

// NodeOf returns the name of the node that dir belongs to, "" if it is not a node's directory.
func NodeOf(dir string) string {
	var own identity
	if found, err := readJSON(filepath.Join(dir, identityFile), &own); !found || err != nil {
		return ""
	}
	return own.Node
}

// claimIdentity checks that the directory belongs to the node, and claims a directory that belongs to
// nobody. The cluster may have grown since.
func (c *Config) claimIdentity() error {
	own := identity{Node: c.Name, Stream: c.Stream}
	for _, m := range c.Members {
		own.Members = append(own.Members, m.Name)
	}
	slices.Sort(own.Members)
	path := filepath.Join(c.Dir, identityFile)
	var was identity
	found, err := readJSON(path, &was)
	switch {
	case err != nil:
		return fmt.Errorf("%w: move the directory away, so that the node fetches its replica again", err)
	case !found:
		entries, err := os.ReadDir(c.Dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() != "LOCK" && e.Name() != identityFile+".tmp" {
				return fmt.Errorf("%s: %w: it has %s and no file %s, so it is not a node's: name an empty directory",
					c.Dir, ErrOtherNode, e.Name(), identityFile)
			}
		}
	case was.Node != own.Node:
		return fmt.Errorf("%s: %w: it belongs to node %s, and this is node %s: start it as %[3]s, or name another directory",
			c.Dir, ErrOtherNode, was.Node, own.Node)
	case was.Stream != own.Stream:
		return fmt.Errorf("%s: %w: its log is the stream %s, and this node's is %s", c.Dir, ErrOtherNode, was.Stream, own.Stream)
	case len(was.Members) == 1 && len(own.Members) > 1:
		return fmt.Errorf("%s: %w: it is that of a cluster of one node, which cannot grow: back its log up, and restore it "+
			"into a new cluster", c.Dir, ErrOtherNode)
	case slices.ContainsFunc(was.Members, func(name string) bool { return !slices.Contains(own.Members, name) }):
		return fmt.Errorf("%s: %w: its cluster has the nodes %s, and this one has %s: name all of them, or another directory",
			c.Dir, ErrOtherNode, strings.Join(was.Members, ", "), strings.Join(own.Members, ", "))
	case slices.Equal(was.Members, own.Members):
		return nil
	}
	return writeJSON(path, own)
}
