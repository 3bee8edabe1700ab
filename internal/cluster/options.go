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
	// routeUser is the name by which nodes log in to each other, the same for all: the secret admits a
	// node, and TLS authenticates it.
	routeUser = "node"
)

// credentials are for the clients in this process.
type credentials struct{ log, system *natsserver.User }

func newCredentials() credentials {
	user := func(name string) *natsserver.User {
		return &natsserver.User{Username: name, Password: rand.Text()}
	}
	c := credentials{user("log"), user("system")}
	c.system.Account = natsserver.NewAccount(systemAccount)
	return c
}

// routePassword derives the password of routes from the secret. It does not contain the secret, because
// without TLS it is sent to whoever listens at a member's address.
func routePassword(secret []byte) string {
	sum := sha256.Sum256(append([]byte("tcp-log-server cluster route\n"), secret...))
	return hex.EncodeToString(sum[:])
}

// options returns the options of the NATS server of a node with a replica of the log logName, or "" for
// none.
func (c *Config) options(cred credentials, logName string) *natsserver.Options {
	opts := &natsserver.Options{
		ServerName: c.Name,
		// Clients are in this process. The server listens for routes only if it listens for clients too,
		// so it does, with passwords that nobody knows.
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
		return opts // a single server, without a Raft log
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
	for _, m := range c.Members { // including itself: the server derives the size of the cluster from them
		opts.Routes = append(opts.Routes, &url.URL{
			Scheme: "nats-route", Host: m.Addr,
			User: url.UserPassword(opts.Cluster.Username, opts.Cluster.Password),
		})
	}
	return opts
}

const (
	// maxMemory is for streams and consumers in memory: the log has none, and its readers' consumers are
	// small.
	maxMemory = 64 << 20
	// maxBuffered is for messages waiting to be proposed: each gateway has one under way at a time.
	// maxCatchup is for messages under way to nodes that catch up.
	maxBuffered = 64 << 20
	maxCatchup  = 32 << 20
	// maxStore is effectively no limit: a failing write reveals a full disk.
	maxStore = 1 << 50
	// listenTimeout limits how long the server may take to listen once JetStream runs.
	listenTimeout = 10 * time.Second
)

// jetStreamConfig returns the same settings as options, to start JetStream in a running server.
func (c *Config) jetStreamConfig() *natsserver.JetStreamConfig {
	return &natsserver.JetStreamConfig{
		StoreDir: c.Dir, MaxMemory: maxMemory, MaxStore: maxStore,
		SyncAlways: true, SyncInterval: 2 * time.Minute, Strict: true, CompressOK: true,
	}
}
