package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/segment"
)

// Cluster makes a daemon serve a log that is replicated on several machines, instead of one in Data: as a
// node of a cluster of such daemons, or beside an existing NATS cluster.
type Cluster struct {
	// Nodes are all nodes of the cluster, as name=host:port separated by commas, and Node is the name of
	// this one. The nodes reach each other at these hosts and ports. The node keeps its replica in the
	// directory cluster of Data.
	Nodes, Node string
	// SecretFile names the file of the secret that the nodes share, which admits a node.
	SecretFile string
	// TLSCert, TLSKey and TLSCA name the PEM files with which a node authenticates itself and verifies
	// the others. They are required unless all nodes are on loopback, or Insecure is set. With URL, they
	// are for the connections to NATS.
	TLSCert, TLSKey, TLSCA string

	// URL lists the servers of a NATS cluster, nats://host:port separated by commas, instead of Nodes.
	URL string
	// Creds names the file of credentials for it.
	Creds string
	// Stream is the stream that holds the log. The daemon creates it if it does not exist.
	Stream string

	// Seed is the directory of a log with which a new cluster begins: the first of Nodes, or the first
	// server on a new Stream, copies its entries there before it serves. It is not read once they are
	// there.
	Seed string

	// Head is replicated.HeadLeader or replicated.HeadQuorum.
	Head string
	// GiveUp is how long an append waits for a majority.
	GiveUp time.Duration
}

// clustered reports whether the log is on several machines.
func (c *Config) clustered() bool { return c.Cluster.Nodes != "" || c.Cluster.URL != "" }

// validateCluster checks the settings of a cluster.
func (c *Config) validateCluster() error {
	k := &c.Cluster
	if !c.clustered() {
		for name, value := range map[string]string{
			"cluster-node": k.Node, "cluster-secret-file": k.SecretFile, "cluster-tls-cert": k.TLSCert,
			"cluster-tls-key": k.TLSKey, "cluster-tls-ca": k.TLSCA, "nats-creds": k.Creds, "cluster-seed": k.Seed,
		} {
			if value != "" {
				return ConfigError(fmt.Sprintf("%s needs cluster-nodes, the nodes of the cluster, or nats-url", name))
			}
		}
		return nil
	}
	for name, set := range map[string]bool{
		"archive": c.Archive != "", "sync-replicas": c.SyncReplicas > 0, "wal": c.WAL != "", "blobs": c.Blobs != "",
	} {
		if set {
			return ConfigError(fmt.Sprintf("%s is for a log in a directory, and this one is in a cluster: "+
				"a replica of it (`tcp-log-server replica`) has a directory, and may have an archive", name))
		}
	}
	files := 0
	for _, file := range []string{k.TLSCert, k.TLSKey, k.TLSCA} {
		if file != "" {
			files++
		}
	}
	switch {
	case k.Nodes != "" && k.URL != "":
		return ConfigError("cluster-nodes and nats-url exclude each other: the nodes of a cluster have NATS in them")
	case c.Source != nil:
		return ConfigError("a replica follows a server, and a node of a cluster does not: run the replica without cluster-nodes and nats-url")
	case k.Head != replicated.HeadLeader && k.Head != replicated.HeadQuorum:
		return ConfigError(fmt.Sprintf("head is %q, want leader or quorum", k.Head))
	case k.GiveUp < time.Second || k.GiveUp > 10*time.Minute:
		return ConfigError(fmt.Sprintf("give-up is %v, want 1s to 10m", k.GiveUp))
	case k.Stream == "" || strings.ContainsAny(k.Stream, " \t.*>/\\"):
		return ConfigError(fmt.Sprintf("nats-stream is %q, want a name without spaces, dots, *, > and slashes", k.Stream))
	case k.URL != "" && (k.Node != "" || k.SecretFile != ""):
		return ConfigError("cluster-node and cluster-secret-file are for cluster-nodes, not for nats-url")
	case k.URL != "" && (k.TLSCert == "") != (k.TLSKey == ""):
		return ConfigError("cluster-tls-cert and cluster-tls-key go together: set both or neither")
	case k.Nodes != "" && files != 0 && files != 3:
		return ConfigError("cluster-tls-cert, cluster-tls-key and cluster-tls-ca go together: set all or none")
	case k.Nodes != "" && c.Data == engine.Memory:
		return ConfigError("a node of a cluster keeps its replica on disk, and data is \"memory\"")
	}
	if k.Nodes == "" {
		return nil
	}
	members, err := cluster.ParseMembers(k.Nodes)
	if err != nil {
		return ConfigError("cluster-nodes: " + err.Error())
	}
	if len(members) > 1 && k.SecretFile == "" {
		return ConfigError("cluster-nodes needs cluster-secret-file: the same on all nodes, of 16 bytes or more; `openssl rand -hex 32` makes one")
	}
	node := cluster.Config{Members: members, Name: k.Node, Dir: c.clusterDir(), Secret: make([]byte, 32), Insecure: c.Insecure || files > 0}
	if err := node.Validate(); err != nil {
		return ConfigError("cluster-node: " + err.Error())
	}
	if first := members[0].Name; k.Seed != "" && k.Node != first {
		return ConfigError(fmt.Sprintf("cluster-seed is for the first of cluster-nodes, %s, and this is %s: start that with it", first, k.Node))
	}
	return nil
}

// clusterDir returns the directory of a node's replica.
func (c *Config) clusterDir() string { return filepath.Join(c.Data, "cluster") }

// shared holds the parts of a daemon whose log is on several machines.
type shared struct {
	node         *cluster.Node         // nil beside a NATS cluster
	certificates *cluster.Certificates // of the node; nil without TLS between nodes
	conn         *nats.Conn
	log          *replicated.Log
}

// Stats returns the statistics of a log in a directory that make sense for a cluster.
func (s *shared) Stats() engine.Stats {
	l := s.log.Stats()
	return engine.Stats{
		Head: l.Head, Settled: l.Head, First: 1, Loose: -1, Bytes: int64(l.Bytes),
		Entries: l.Entries, Written: l.Written, Batches: l.Sent, Syncing: l.Sending, Rate: l.Rate,
	}
}

func (s *shared) Store() string           { return s.log.Store() }
func (s *shared) Epochs() []appends.Epoch { return s.log.Epochs() }
func (s *shared) Refusing() error         { return s.log.Refusing() }
func (s *shared) Refuse()                 { s.log.Refuse() }

// Fenced returns 0: a log in a cluster cannot be fenced.
func (s *shared) Fenced() (epoch uint64, by string) { return 0, "" }

// openCluster starts the node, if there is one, and waits until a majority of the nodes agrees, or ctx
// ends.
func (d *daemon) openCluster(ctx context.Context) (err error) {
	k, s := d.config.Cluster, &shared{}
	d.shared, d.own = s, s
	defer func() {
		if err != nil {
			s.close(ctx)
		}
	}()
	config := replicated.Config{
		Stream: k.Stream, Create: true, Replicas: 3, Head: k.Head, GiveUp: k.GiveUp,
		Logger: d.logger,
	}
	if d.exporter != nil {
		config.OnBatch = d.exporter.Batch
	}
	if k.URL != "" {
		config.Reconnects = true
		if s.conn, err = d.connectNATS(); err != nil {
			return err
		}
		d.waitFor("waiting for the NATS cluster at " + k.URL)
	} else {
		if err := d.startNode(&config); err != nil {
			return err
		}
		if err := d.awaitNode(ctx, s.node); err != nil {
			return err
		}
		if s.conn, err = s.node.Connect(replicated.Options()...); err != nil {
			return err
		}
	}
	config.Conn, config.Waiting = s.conn, d.waitFor
	if k.Seed != "" {
		if err := d.seed(ctx, config); err != nil {
			return err
		}
	}
	if !config.Create && config.Store == "" {
		first, _, _ := strings.Cut(k.Nodes, "=")
		d.waitFor("waiting for node " + strings.TrimSpace(first) + ", the first of CLUSTER_NODES, to make the log")
	}
	if s.log, err = replicated.Open(ctx, config); err != nil {
		return err
	}
	if k.Nodes != "" && config.Store == "" {
		err = segment.ReplaceFile(d.config.storeFile(), []byte(s.log.Store()+"\n"))
	}
	return err
}

// storeFile returns the file that names the log of which the node has a replica, so that an empty stream
// in its place is not mistaken for it.
func (c *Config) storeFile() string { return filepath.Join(c.clusterDir(), "STORE") }

// startNode starts the node of this daemon.
func (d *daemon) startNode(config *replicated.Config) error {
	k := d.config.Cluster
	members, err := cluster.ParseMembers(k.Nodes)
	if err != nil {
		return err
	}
	// One node creates the log of a new cluster, in which all must run at first: so no other creates one
	// while that node seeds it.
	config.Create = members[0].Name == k.Node
	config.Replicas = len(members)
	node := cluster.Config{
		Members: members, Name: k.Node, Dir: d.config.clusterDir(), Insecure: d.config.Insecure,
		Stream: k.Stream, Check: replicated.CheckMessage, Logger: d.logger,
	}
	if k.SecretFile != "" {
		secret, err := os.ReadFile(k.SecretFile)
		if err != nil {
			return fmt.Errorf("cluster-secret-file: %w", err)
		}
		node.Secret = []byte(strings.TrimSpace(string(secret)))
	}
	if k.TLSCert != "" {
		if d.shared.certificates, err = cluster.LoadTLS(k.TLSCert, k.TLSKey, k.TLSCA); err != nil {
			return err
		}
		node.TLS = d.shared.certificates.Config()
	}
	store, err := os.ReadFile(d.config.storeFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config.Store = strings.TrimSpace(string(store))
	config.Lookup = filepath.Join(d.config.clusterDir(), "lookup")
	d.shared.node, err = cluster.Start(node)
	return err
}

// connectNATS connects to the NATS cluster of the settings.
func (d *daemon) connectNATS() (*nats.Conn, error) {
	k := d.config.Cluster
	opts := append(replicated.Options(), nats.Name("tcp-log-server"), nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // the credentials file may be replaced, and is read again
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				d.logger.Warn().Err(err).Str("event", "cluster").Msg("the connection to NATS is lost, and made again")
			}
		}))
	if k.Creds != "" {
		opts = append(opts, nats.UserCredentials(k.Creds))
	}
	if k.TLSCA != "" {
		opts = append(opts, nats.RootCAs(k.TLSCA))
	}
	if k.TLSCert != "" {
		opts = append(opts, nats.ClientCert(k.TLSCert, k.TLSKey))
	}
	conn, err := nats.Connect(k.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("nats-url: %w", err)
	}
	return conn, nil
}

// awaitNode waits until the node takes part in the cluster, and reports what it waits for.
func (d *daemon) awaitNode(ctx context.Context, node *cluster.Node) error {
	waiting := ""
	for {
		step, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
		err := node.Ready(step)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, cluster.ErrNotReady) {
			return err
		}
		if reason := node.Status(ctx).Reason; reason != "" && reason != waiting {
			waiting = reason
			d.waitFor("waiting for the cluster: " + reason)
			d.logger.Info().Str("event", "waiting").Str("node", d.config.Cluster.Node).Msg("waiting for the cluster: " + reason)
		}
	}
}

// redacted returns the URLs without user names and passwords.
func redacted(urls string) string {
	var shown []string
	for u := range strings.SplitSeq(urls, ",") {
		scheme, rest, ok := strings.Cut(u, "://")
		if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
			u = scheme + "://" + rest[at+1:]
		}
		shown = append(shown, u)
	}
	return strings.Join(shown, ",")
}

// close ends the log, waiting for pending appends until ctx is done, and then the node and its
// connection.
func (s *shared) close(ctx context.Context) (err error) {
	if s.log != nil {
		err = s.log.Close(ctx)
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.node != nil {
		s.node.Close()
	}
	return err
}

// clusterLog is the log of a node, which can make all nodes verify their replicas.
type clusterLog struct {
	*replicated.Log
	node *cluster.Node
}

// VerifyReplicas makes each node read its replica.
func (l *clusterLog) VerifyReplicas(ctx context.Context) (any, error) { return l.node.Verify(ctx), nil }

// natsLog is the log of a server beside a NATS cluster, which has the replicas.
type natsLog struct{ *replicated.Log }

// VerifyReplicas returns an error that says what to do instead.
func (l *natsLog) VerifyReplicas(context.Context) (any, error) {
	return nil, errors.New("the replicas of this log are on NATS servers, and this server cannot make those verify them: " +
		"copy the log with `tcp-log-server replica`, which checks every message, and run `tcp-log-server fsck` on the copy")
}

// ClusterStat is the state of the cluster in a Stat, as this server knows it.
type ClusterStat struct {
	Node   string `json:"node,omitempty"` // this node; empty beside a NATS cluster
	Stream string `json:"stream"`
	// Problem is what is wrong with this node's replica: it is damaged, or is being fetched.
	Problem  string        `json:"problem,omitempty"`
	Leader   string        `json:"leader"` // empty while there is none
	Replicas []NodeReplica `json:"replicas"`
	Messages uint64        `json:"messages"` // messages of the stream that this server has counted
	Behind   uint64        `json:"behind"`   // messages that it knows of and has not counted
	Lane     string        `json:"lane"`     // the subject on which it sends
	Waiting  int           `json:"waiting"`  // appends that wait for a majority
	// LongestStall is the longest time since the start that storing a message of this server took, in s.
	LongestStall float64 `json:"longest_stall"`
	Damaged      uint64  `json:"damaged"` // damaged messages received from nodes since the start
}

// NodeReplica is the replica of a node, as the leader sees it.
type NodeReplica struct {
	Node    string  `json:"node"`
	Leader  bool    `json:"leader"`
	Current bool    `json:"current"` // it has everything, or is about to
	Lag     uint64  `json:"lag"`     // how many messages it lags
	Seen    float64 `json:"seen"`    // s since the leader last heard from it, 0 if it never has
	Offline bool    `json:"offline,omitempty"`
}

// clusterStat returns the state of the cluster, nil without one.
func (d *daemon) clusterStat() *ClusterStat {
	if d.shared == nil {
		return nil
	}
	l := d.shared.log.Stats()
	answer := &ClusterStat{
		Node: d.config.Cluster.Node, Stream: d.config.Cluster.Stream, Leader: l.Leader, Replicas: []NodeReplica{},
		Messages: l.Messages, Behind: l.Last - l.Messages, Lane: l.Lane, Waiting: l.Waiting,
		LongestStall: l.Stalled.Round(time.Millisecond).Seconds(), Damaged: l.Damaged,
	}
	if d.shared.node != nil {
		answer.Problem = d.shared.node.Replica()
	}
	for _, r := range l.Replicas {
		answer.Replicas = append(answer.Replicas, NodeReplica{r.Name, r.Leader, r.Current, r.Lag, r.Seen.Round(time.Microsecond).Seconds(), r.Offline})
	}
	return answer
}
