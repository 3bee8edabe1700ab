package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// clusterNodes are the nodes of a cluster.
var clusterNodes = []string{"a", "b", "c"}

// clusterOf is this project's server as three nodes, without TLS between them.
func clusterOf(one *target) *target {
	t := *one
	t.start = func(o startOptions) (*process, error) {
		addrs, err := heldAddrs(len(clusterNodes))
		if err != nil {
			return nil, err
		}
		secret := filepath.Clean(o.dir) + ".secret"
		if err := os.WriteFile(secret, []byte("the nodes of this bench know it\n"), 0o600); err != nil {
			return nil, err
		}
		var nodes []string
		for i, name := range clusterNodes {
			nodes = append(nodes, name+"="+addrs[i])
		}
		return startCluster(func(i int) (*process, error) {
			return one.start(startOptions{dir: filepath.Join(o.dir, clusterNodes[i]), env: append(o.env,
				"CLUSTER_NODES="+strings.Join(nodes, ","), "CLUSTER_NODE="+clusterNodes[i], "CLUSTER_SECRET_FILE="+secret)})
		}, leaderOfLog)
	}
	return &t
}

// startCluster starts three servers, and returns the leader, with the others as its peers.
func startCluster(start func(i int) (*process, error), leader func(*process) (string, error)) (*process, error) {
	members := make([]*process, len(clusterNodes))
	errs := make([]error, len(clusterNodes))
	var starting sync.WaitGroup
	for i := range members {
		starting.Go(func() { members[i], errs[i] = start(i) })
	}
	starting.Wait()
	all := &process{peers: members}
	if err := errors.Join(errs...); err != nil {
		all.killPeers()
		return nil, err
	}
	var name string
	err := members[0].awaitReady(startLimit, func() (err error) {
		if name, err = leader(members[0]); err == nil && name == "" {
			err = errors.New("there is no leader that all follow")
		}
		return err
	})
	if err != nil {
		all.killPeers()
		return nil, err
	}
	for i, node := range clusterNodes {
		if node == name {
			members[i].peers = append(members[:i:i], members[i+1:]...)
			return members[i], nil
		}
	}
	all.killPeers()
	return nil, fmt.Errorf("the leader is called %q", name)
}

// leaderOfLog asks a node of this project's server which node leads; "" if not all follow one.
func leaderOfLog(p *process) (string, error) {
	stat, err := watchStat(p)
	if err != nil {
		return "", err
	}
	defer stat.close()
	line, err := stat.ask()
	if err != nil {
		return "", err
	}
	var s struct{ Stat struct{ Cluster replicas } }
	err = json.Unmarshal(line, &s)
	return s.Stat.Cluster.led(), err
}

// replicas are those of a stream, as each server describes them.
type replicas struct {
	Leader   string
	Replicas []struct{ Current bool }
}

// led returns the leader if there is one and the others follow it. NATS does not count the leader
// among the replicas.
func (c replicas) led() string {
	current := 0
	for _, r := range c.Replicas {
		if r.Current {
			current++
		}
	}
	if current < len(clusterNodes)-1 {
		return ""
	}
	return c.Leader
}

// startNATSCluster starts three NATS servers with a stream of three replicas.
func startNATSCluster(binary string, o startOptions) (*process, error) {
	routes, err := heldAddrs(len(clusterNodes))
	if err != nil {
		return nil, err
	}
	return startCluster(func(i int) (*process, error) {
		return startNATSServer(binary, filepath.Join(o.dir, clusterNodes[i]), "always", fmt.Sprintf(
			"server_name: %s\ncluster { name: bench, listen: %q, routes: [ %s ] }\n", clusterNodes[i], routes[i], "nats://"+strings.Join(routes, ", nats://")))
	}, leaderOfNATS)
}

// leaderOfNATS creates the stream if there is none, and asks which server leads it.
func leaderOfNATS(p *process) (string, error) {
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	ask, _ := natsHello(0)
	ask = natsPublish(ask, "$JS.API.STREAM.CREATE.s", "_A.0",
		fmt.Sprintf(`{"name":"s","subjects":["s"],"storage":"file","num_replicas":%d,"allow_atomic":true}`, len(clusterNodes)))
	if _, err := nc.Write(ask); err != nil {
		return "", err
	}
	lines := bufio.NewReader(nc)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return "", err
		}
		var answer struct {
			Cluster replicas
			Error   *struct{ Description string }
		}
		if json.Unmarshal(line, &answer) != nil || line[0] != '{' { // the protocol's own lines
			continue
		}
		if answer.Error != nil {
			return "", errors.New(answer.Error.Description)
		}
		return answer.Cluster.led(), nil
	}
}

// heldAddrs returns n addresses of the kind that heldAddr returns.
func heldAddrs(n int) (addrs []string, err error) {
	for range n {
		addr, err := heldAddr()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}
