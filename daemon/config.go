package daemon

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/printable"
	"tcp-log-server/internal/replicated"
	"tcp-log-server/server"
)

// Config says what a daemon serves, where and to whom. NewConfig returns the defaults.
type Config struct {
	// Host and Port are the TCP address to listen on. Port 0 picks a free one.
	Host string
	Port int
	// Listener, if not nil, is served instead of Host and Port. Run closes it.
	Listener net.Listener

	// Data, WAL, Blobs and LooseMax are those of engine.Config. Blobs may also be the URL of a
	// bucket, file:///… or s3://…, which becomes the engine's BlobStore.
	Data, WAL, Blobs string
	LooseMax         int

	// Archive is the URL of the bucket to which the log is archived, "" for none. New entries in the open
	// segment go there every ArchiveEvery, at no more than ArchiveRate bytes a second in total.
	// ArchiveTakeOver archives to a place where another directory of this log did before.
	Archive         string
	ArchiveEvery    time.Duration
	ArchiveRate     int64
	ArchiveTakeOver bool
	// ArchiveKeepLocal is roughly how many bytes of sealed segments stay in Data: beyond that, the oldest
	// are removed once Archive has them; 0 keeps all. Removed segments are read from the archive through
	// a cache of ArchiveCache bytes in Data.
	ArchiveKeepLocal, ArchiveCache int64

	// Cluster, if it names nodes or a URL, puts the log on several machines.
	Cluster Cluster

	// SyncReplicas is how many replicas, besides this server, must have an append on disk before it is
	// acknowledged, and before readers see it; see package syncreplicas.
	SyncReplicas int

	// Source, if not nil, makes the daemon a read replica of that server. Data must be empty, or hold the
	// beginning of the server's log.
	Source *Source

	// MaxEntry and WriteTimeout are those of server.Config.
	MaxEntry     int
	WriteTimeout time.Duration
	// MaxConnections is how many connections to serve at once; 0 means the server's default. The limit on
	// open files bounds both.
	MaxConnections int

	// TLSCert and TLSKey name the PEM files of the server's certificates and their private key. If both
	// are empty, the server does not speak TLS.
	TLSCert, TLSKey string
	// TLSClientCA names the PEM file of the authorities whose certificates admit clients.
	TLSClientCA string
	// TLSMinVersion is the oldest version of TLS to accept, numbered as in crypto/tls.
	TLSMinVersion uint16
	// Tokens names the file of the tokens that admit clients.
	Tokens string
	// Insecure lets a daemon that requires neither certificates nor tokens listen on addresses other than
	// loopback, and lets Metrics do so, which never requires either.
	Insecure bool

	// HTTP is the address, host:port, that serves HTTP and the page, "" for none. Without a host it uses
	// Host.
	HTTP string
	// HTTPNames and HTTPOrigins are Names and Origins of web.Config.
	HTTPNames, HTTPOrigins []string

	// Metrics is the address, host:port, that serves /metrics, /healthz and /readyz over
	// HTTP, "" for none. Pprof adds /debug/pprof.
	Metrics string
	Pprof   bool

	// Systemd makes the daemon use the socket that systemd passes to the process, if any, and notify
	// systemd of its state. Both belong to the process: only one of several daemons in a process may use
	// them.
	Systemd bool

	// Logger receives the events of the daemon. The zero Logger drops them. NewLogger makes the one that
	// the command uses.
	Logger zerolog.Logger
	// OnReady, if not nil, is called once with the address of the daemon, after the log has been
	// recovered and before the first connection is served.
	OnReady func(net.Addr)
	// Reload, if not nil, makes the daemon read the token and certificate files again each time something
	// is received from it.
	Reload <-chan struct{}

	segmentSize int64 // for engine.Config, if not 0
}

// NewConfig returns a Config with the defaults, for the log in the directory data.
func NewConfig(data string) Config {
	log, srv := engine.NewConfig(data), server.NewConfig()
	return Config{
		Host: "127.0.0.1", Port: 8089,
		Data: data, LooseMax: log.LooseMax,
		ArchiveEvery: archive.DefaultEvery, ArchiveRate: archive.DefaultRate, ArchiveCache: archived.DefaultCache,
		MaxEntry: srv.MaxEntry, WriteTimeout: srv.WriteTimeout,
		TLSMinVersion: tls.VersionTLS13,
		Cluster:       Cluster{Stream: cluster.DefaultStream, Head: replicated.HeadLeader, GiveUp: replicated.DefaultGiveUp},
	}
}

// A ConfigError says which setting cannot be used, and why. It names settings as the command and stat do:
// TLSCert is tls-cert.
type ConfigError string

func (e ConfigError) Error() string { return string(e) }

// Validate returns a ConfigError if c cannot run a daemon. It reads no files.
func (c *Config) Validate() error {
	within := func(name string, n, lo, hi int) error {
		if n < lo || n > hi {
			return ConfigError(fmt.Sprintf("%s is %d, want %d to %d", name, n, lo, hi))
		}
		return nil
	}
	for _, err := range []error{
		within("port", c.Port, 0, 65535),
		within("loose-max", c.LooseMax, -1, 1<<40),
		within("max-entry", c.MaxEntry, 1, 512<<20),
		within("max-connections", c.MaxConnections, 0, 1<<20),
		within("sync-replicas", c.SyncReplicas, 0, maxSyncReplicas),
	} {
		if err != nil {
			return err
		}
	}
	host, port, hostErr := net.SplitHostPort(c.Host)
	_, metricsPort, metricsErr := net.SplitHostPort(c.Metrics)
	if metricsErr == nil {
		_, metricsErr = net.LookupPort("tcp", metricsPort)
	}
	switch {
	case c.Data == "":
		return ConfigError(`data is empty, want a directory, or "memory" to keep nothing`)
	case likeURL(c.Data):
		return ConfigError(fmt.Sprintf("data is %q, want a directory: only an archive and blobs can be in a bucket", c.Data))
	case likeURL(c.WAL):
		return ConfigError(fmt.Sprintf("wal is %q, want a directory: only an archive and blobs can be in a bucket", c.WAL))
	case likeURL(c.Blobs) && !bucket.IsURL(c.Blobs):
		return ConfigError(fmt.Sprintf("blobs is %q, want a directory, or the URL of a bucket: s3://bucket/prefix or file:///path", c.Blobs))
	case c.Host == "" && c.Listener == nil:
		return ConfigError("host is empty, want an address: 127.0.0.1, or 0.0.0.0 for all")
	case c.Listener == nil && (strings.Contains(c.Host, "/") || hostErr != nil && strings.ContainsAny(c.Host, "[]")):
		return ConfigError(fmt.Sprintf("host is %q, want an address alone, such as 127.0.0.1 or ::1", c.Host))
	case c.Listener == nil && hostErr == nil:
		return ConfigError(fmt.Sprintf("host is %q, want a host without a port: set host to %s and port to %s", c.Host, host, port))
	case c.WriteTimeout < time.Second:
		return ConfigError(fmt.Sprintf("write-timeout is %v, want 1s or more", c.WriteTimeout))
	case c.TLSMinVersion != tls.VersionTLS12 && c.TLSMinVersion != tls.VersionTLS13:
		return ConfigError(fmt.Sprintf("tls-min-version is %s, want 1.3 or 1.2", tlsVersion(c.TLSMinVersion)))
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return ConfigError("tls-cert and tls-key go together: set both or neither")
	case c.TLSClientCA != "" && c.TLSCert == "":
		return ConfigError("tls-client-ca needs tls-cert and tls-key")
	case c.Metrics != "" && metricsErr != nil:
		return ConfigError(fmt.Sprintf("metrics is %q, want host:port, like 127.0.0.1:9100", c.Metrics))
	case c.Archive != "" && !bucket.IsURL(c.Archive):
		return ConfigError(fmt.Sprintf("archive is %q, want the URL of a bucket: s3://bucket/prefix or file:///path", c.Archive))
	case c.Archive != "" && c.Data == engine.Memory:
		return ConfigError("archive needs the log on disk, and data is \"memory\"")
	case c.Archive == "" && c.ArchiveTakeOver:
		return ConfigError("archive-take-over needs archive, the bucket to take over")
	case c.ArchiveEvery < time.Second || c.ArchiveEvery > time.Hour:
		return ConfigError(fmt.Sprintf("archive-every is %v, want 1s to 1h", c.ArchiveEvery))
	case c.ArchiveKeepLocal < 0:
		return ConfigError(fmt.Sprintf("archive-keep-local is %d, want 0 or more", c.ArchiveKeepLocal))
	case c.ArchiveKeepLocal > 0 && c.Archive == "":
		return ConfigError("archive-keep-local needs archive, the bucket that has what is removed here")
	case c.ArchiveKeepLocal > 0 && c.WAL == engine.Memory:
		return ConfigError("archive-keep-local needs the index on disk, and wal is \"memory\"")
	case c.ArchiveCache < archived.MinCache:
		return ConfigError(fmt.Sprintf("archive-cache is %s, want %s or more", printable.Bytes(c.ArchiveCache), printable.Bytes(archived.MinCache)))
	case c.ArchiveRate < 64<<10:
		return ConfigError(fmt.Sprintf("archive-rate is %s a second, want 64KiB or more", printable.Bytes(c.ArchiveRate)))
	case c.Pprof && c.Metrics == "":
		return ConfigError("pprof needs metrics, the address that serves it")
	}
	// The actual address is checked again later. Checking it here keeps a daemon that will be refused
	// from changing anything; the listener reports a host that cannot be resolved.
	if addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(c.Host, "0")); c.Listener == nil && err == nil {
		if err := c.checkExposure(addr, "HOST=127.0.0.1"); err != nil {
			return ConfigError(err.Error())
		}
	}
	if err := c.validateReplica(); err != nil {
		return err
	}
	if err := c.validateCluster(); err != nil {
		return err
	}
	if err := c.validateHTTP(); err != nil {
		return err
	}
	if c.Metrics != "" {
		if addr, err := net.ResolveTCPAddr("tcp", c.Metrics); err == nil {
			if err := c.checkMetricsExposure(addr); err != nil {
				return ConfigError(err.Error())
			}
		}
	}
	return nil
}

// restricted reports whether clients must show a certificate or a token.
func (c *Config) restricted() bool { return c.TLSClientCA != "" || c.Tokens != "" }

// checkExposure refuses an address that other machines can reach, unless clients must authenticate or
// Insecure allows it. instead is a setting with an address that they cannot reach.
func (c *Config) checkExposure(addr net.Addr, instead string) error {
	if isLoopback(addr) || c.restricted() || c.Insecure {
		return nil
	}
	return fmt.Errorf("anyone who can reach %s could read and write the log: "+
		"set TLS_CERT, TLS_KEY and TLS_CLIENT_CA to require certificates, or TOKENS to require tokens, or %s; "+
		"or INSECURE=1 if only trusted clients can reach it", addr.(*net.TCPAddr).IP, instead)
}

// checkMetricsExposure refuses a metrics address that other machines can reach, unless Insecure allows
// it. Certificates and tokens do not guard that address.
func (c *Config) checkMetricsExposure(addr net.Addr) error {
	if isLoopback(addr) || c.Insecure {
		return nil
	}
	return fmt.Errorf("anyone who can reach %s could read %s: set METRICS=127.0.0.1:%d; "+
		"or INSECURE=1 if only trusted clients can reach it, which leaves TOKENS and TLS_CLIENT_CA in force for the log",
		addr, c.metricsShow(), addr.(*net.TCPAddr).Port)
}

// metricsShow returns what the metrics address exposes.
func (c *Config) metricsShow() string {
	if c.Pprof {
		return "metrics and dumps of the server's memory"
	}
	return "metrics"
}

// isLoopback reports whether the addresses are reachable only from this machine.
func isLoopback(addrs ...net.Addr) bool {
	return !slices.ContainsFunc(addrs, func(addr net.Addr) bool {
		tcp, ok := addr.(*net.TCPAddr)
		return ok && !tcp.IP.IsLoopback()
	})
}

// shown returns the settings that stat shows to everyone who may read the log, named like the command's
// flags: all of them, except where the files of secrets are.
func (c *Config) shown() map[string]any {
	shown := map[string]any{
		"host": c.Host, "port": c.Port,
		"data": c.Data, "loose-max": c.LooseMax, "sync-replicas": c.SyncReplicas,
		"max-entry": c.MaxEntry, "max-connections": c.maxConnections(), "write-timeout": c.WriteTimeout.String(),
		"tls-cert": c.TLSCert != "", "tls-key": c.TLSKey != "", "tls-client-ca": c.TLSClientCA != "", "tokens": c.Tokens != "",
		"tls-min-version": tlsVersion(c.TLSMinVersion), "insecure": c.Insecure,
		"archive-every": c.ArchiveEvery.String(), "archive-rate": c.ArchiveRate, "archive-keep-local": c.ArchiveKeepLocal, "archive-cache": c.ArchiveCache, "archive-take-over": c.ArchiveTakeOver,
		"pprof": c.Pprof, "log-level": levelName(c.Logger.GetLevel()),
	}
	// Without a value these follow from other settings.
	for name, value := range map[string]string{
		"wal": c.WAL, "blobs": c.Blobs, "archive": c.Archive, "metrics": c.Metrics,
		"http": c.HTTP, "http-names": strings.Join(c.HTTPNames, ","), "http-origins": strings.Join(c.HTTPOrigins, ","),
	} {
		if value != "" {
			shown[name] = value
		}
	}
	if k := c.Cluster; c.clustered() {
		shown["cluster-nodes"], shown["cluster-node"], shown["nats-url"] = k.Nodes, k.Node, redacted(k.URL)
		shown["nats-stream"], shown["head"], shown["give-up"] = k.Stream, k.Head, k.GiveUp.String()
		shown["cluster-tls"], shown["cluster-secret-file"], shown["nats-creds"] = k.TLSCA != "", k.SecretFile != "", k.Creds != ""
	}
	if c.Source != nil {
		shown["name"], shown["source-tls"] = c.Source.Name, c.Source.Connect.TLS != nil
		if c.Source.From != "" {
			shown["from"] = c.Source.From
		}
	}
	return shown
}

// maxConnections returns MaxConnections, or its default.
func (c *Config) maxConnections() int {
	if c.MaxConnections == 0 {
		return server.NewConfig().MaxConnections
	}
	return c.MaxConnections
}

// tlsVersion formats a version of TLS as in the setting: 1.3.
func tlsVersion(version uint16) string { return strings.TrimPrefix(tls.VersionName(version), "TLS ") }

// likeURL reports whether s is meant as a URL: as a path it would name a directory `s3:` or `file:`.
func likeURL(s string) bool {
	return strings.HasPrefix(s, "s3:") || strings.HasPrefix(s, "file:") || strings.Contains(s, "://")
}
