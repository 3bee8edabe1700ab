package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Member is one node of a cluster, as configured on all nodes.
type Member struct {
	Name string // letters a to z, digits and dashes
	Addr string // host:port on which it listens for the other nodes
}

// ParseMembers parses the members of a cluster, such as a=host1:6222,b=host2:6222,c=host3:6222.
func ParseMembers(s string) ([]Member, error) {
	var members []Member
	for part := range strings.SplitSeq(s, ",") {
		name, addr, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return nil, fmt.Errorf("found %q among the nodes, want name=host:port", part)
		}
		members = append(members, Member{name, addr})
	}
	return members, checkMembers(members)
}

// checkMembers returns an error unless members can form a cluster.
func checkMembers(members []Member) error {
	if n := len(members); n != 1 && n != 3 && n != 5 {
		return fmt.Errorf("found %d nodes, want 1, 3 or 5: an even number tolerates no more failures than one node fewer", n)
	}
	names, addrs := make(map[string]bool), make(map[string]string)
	for _, m := range members {
		if !validName(m.Name) {
			return fmt.Errorf("found a node with the name %q, want up to 32 of a to z, 0 to 9 and dashes", m.Name)
		}
		if names[m.Name] {
			return fmt.Errorf("found two nodes with the name %q, want each name once", m.Name)
		}
		names[m.Name] = true
		host, port, err := net.SplitHostPort(m.Addr)
		if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
			return fmt.Errorf("node %s has the address %q, want host:port, like %s:6222", m.Name, m.Addr, orExample(host))
		}
		if other, ok := addrs[m.Addr]; ok {
			return fmt.Errorf("nodes %s and %s both have the address %s, want one each", other, m.Name, m.Addr)
		}
		addrs[m.Addr] = m.Name
	}
	return nil
}

func orExample(host string) string {
	if host == "" || strings.ContainsAny(host, ":[]") {
		return "host1"
	}
	return host
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > 32 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// names lists the names of members, for people.
func names(members []Member) string {
	list := make([]string, len(members))
	for i, m := range members {
		list[i] = m.Name
	}
	return strings.Join(list, ", ")
}
