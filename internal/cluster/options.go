//go:build !nocluster

package cluster

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const (
	clusterName   = "tcp-log-server"
	systemAccount = "SYS"
	// routeUser is the name by which nodes log in to each other. It is the same for all: the
	// secret admits a node, and TLS says that it is one.
	routeUser = "node"
)

// credentials are those of the clients in this process.
type credentials struct{ log, system *natsserver.User }

func newCredentials() credentials {
	user := func(name string) *natsserver.User {
		return &natsserver.User{Username: name, Password: rand.Text()}
	}
	c := credentials{user("log"), user("system")}
	c.system.Account = natsserver.NewAccount(systemAccount)
	return c
}

// routePassword is the password of routes. The secret itself is not in it, because it is sent to
// whoever listens at a member's address where nodes do not use TLS.
func routePassword(secret []byte) string {
	sum := sha256.Sum256(append([]byte("tcp-log-server cluster route\n"), secret...))
	return hex.EncodeToString(sum[:])
}

// options are those of the NATS server of a node that has a replica of the log logName, "" for none.
func (c *Config) options(cred credentials, logName string) *natsserver.Options {
	opts := &natsserver.Options{
		ServerName: c.Name,
		// Clients are in this process. The server does not listen for routes unless it listens for
		// clients, so it does, where nobody knows the password.
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
		Users:         []*natsserver.User{cred.log, cred.system},
		Accounts:      []*natsserver.Account{cred.system.Account},
		SystemAccount: systemAccount,
		NoSigs:        true,
		MaxPayload:    int32(c.MaxPayload),

		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               c.Dir,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxStore,
		StreamMaxBufferedSize:  maxBuffered,
		JetStreamMaxCatchup:    maxCatchup,
		// With more than one replica this syncs the Raft log before each acknowledgement, and the
		// stream itself when the Raft log is cut.
		SyncAlways: true,
	}
	if len(c.Members) == 1 {
		return opts // a server on its own, without a Raft log
	}
	host, port := c.listen()
	opts.Cluster = natsserver.ClusterOpts{
		Name: clusterName,
		Host: host, Advertise: c.own().Addr, NoAdvertise: true,
		Username: routeUserOf(logName), Password: routePassword(c.Secret),
		AuthTimeout: 5,
		PoolSize:    1, // one subject carries nearly everything
	}
	opts.Cluster.Port, _ = strconv.Atoi(port)
	if c.TLS != nil {
		opts.Cluster.TLSConfig = c.TLS.Clone()
		opts.Cluster.TLSTimeout = 5
	}
	for _, m := range c.Members { // with itself: the server counts them to know how large the cluster is
		opts.Routes = append(opts.Routes, &url.URL{
			Scheme: "nats-route", Host: m.Addr,
			User: url.UserPassword(opts.Cluster.Username, opts.Cluster.Password),
		})
	}
	return opts
}

const (
	// maxMemory is for streams and consumers in memory: the log has none, its readers' consumers
	// are small.
	maxMemory = 64 << 20
	// maxBuffered is for messages that wait to be proposed: each gateway has one at a time on its way.
	// maxCatchup is for messages on their way to nodes that catch up.
	maxBuffered = 64 << 20
	maxCatchup  = 32 << 20
	// maxStore is no limit: a full disk is noticed by the write that fails.
	maxStore = 1 << 50
	// listenTimeout bounds how long the server takes to listen once JetStream runs.
	listenTimeout = 10 * time.Second
)

// jetStreamConfig is that of options, to start JetStream when the server runs already.
func (c *Config) jetStreamConfig() *natsserver.JetStreamConfig {
	return &natsserver.JetStreamConfig{
		StoreDir: c.Dir, MaxMemory: maxMemory, MaxStore: maxStore,
		SyncAlways: true, SyncInterval: 2 * time.Minute, Strict: true, CompressOK: true,
	}
}
