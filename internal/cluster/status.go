package cluster

// Status is the state of a cluster as one of its nodes sees it.
type Status struct {
	Node    string         `json:"node"`             // this node
	Ready   bool           `json:"ready"`            // it takes part, and the cluster has a meta leader
	Reason  string         `json:"reason,omitempty"` // why it is not ready
	Leader  string         `json:"leader,omitempty"` // the node that leads the log's stream, "" if none is known
	Meta    string         `json:"meta,omitempty"`   // the node that leads JetStream's own group
	Online  int            `json:"online"`           // how many nodes JetStream's leader can give a replica to
	Members []MemberStatus `json:"members"`          // all nodes, in the order of Config
}

// MemberStatus is the state of one node.
type MemberStatus struct {
	Name      string `json:"name"`
	Addr      string `json:"addr"`
	Connected bool   `json:"connected"` // it answers
	Current   bool   `json:"current"`   // its replica follows the leader and has nothing to catch up
	Messages  uint64 `json:"messages"`  // in its replica
	Lag       uint64 `json:"lag"`       // how many fewer than in the longest replica that answers
	Problem   string `json:"problem,omitempty"`
}

// Silent is the Problem of a node that does not answer.
const Silent = "it does not answer"

// A Verification is the result of a node's reading its whole replica.
type Verification struct {
	Node     string `json:"node"`
	Messages uint64 `json:"messages"`
	// Sum is the BLAKE3-256 of the BLAKE3-256 sums of the messages that all nodes were asked about.
	Sum     string `json:"sum,omitempty"`
	Problem string `json:"problem,omitempty"` // "" if the replica is whole
}
