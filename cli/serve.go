package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v3"

	"tcp-log-server/daemon"
	"tcp-log-server/internal/printable"
	"tcp-log-server/server"
)

// serveCommand is the program without the name of a command: the server.
func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "tcp-log-server",
		Usage: "serve an append-only log of JSON entries over TCP",
		Description: "Clients append with {\"id\":\"x\",\"entry\":{…}} and read and follow with {\"from\":1}: one\n" +
			"JSON object a line. An acknowledgement means that the entry is on disk.\n\n" +
			"Each flag can also be given as the environment variable beside it, alone or with\n" +
			"TCP_LOG_ before its name, which wins: other programs set variables like HOST too.\n\n" +
			"Examples:\n" +
			"   tcp-log-server                                   # on localhost:8089\n" +
			"   PORT=9000 DATA=/var/lib/log tcp-log-server\n" +
			"   tcp-log-server --host 0.0.0.0 --tokens tokens.txt   # for token holders\n" +
			"   tcp-log-server append '{\"hello\":\"world\"}'        # from another terminal\n" +
			"   tcp-log-server tail -f",
		ArgsUsage: " ",
		Flags:     settings(),
		Action:    serve, // which handles signals itself
	}
}

// settings returns the flags of the server. daemon.Config.Validate checks their values.
func settings() []cli.Flag {
	defaults := daemon.NewConfig(defaultData)
	flags := []cli.Flag{
		&cli.IntFlag{Name: "port", Sources: variable("PORT"), Value: defaults.Port, Usage: "TCP `port` to listen on; 0 picks one"},
		&cli.StringFlag{Name: "host", Sources: variable("HOST"), Value: defaults.Host, Usage: "`address` to listen on; 0.0.0.0 or :: for all"},
		&cli.StringFlag{Name: "data", Sources: variable("DATA"), Value: defaults.Data, Usage: "`directory` of the log, or \"memory\" to keep nothing"},
		&cli.StringFlag{Name: "wal", Sources: variable("WAL"), Usage: "`directory` of the index, or \"memory\" (default: wal in --data)"},
		&cli.StringFlag{Name: "blobs", Sources: variable("BLOBS"), Usage: "`directory` of the blobs, or s3://bucket/prefix or file:///path, or \"memory\" (default: blobs in --data)"},
		&cli.IntFlag{Name: "loose-max", Sources: variable("LOOSE_MAX"), Value: defaults.LooseMax, Usage: "`number` of blob files to write at most; 0 for none, -1 for no limit"},
		&cli.StringFlag{Name: "archive", Sources: variable("ARCHIVE"), Usage: "`URL` of a bucket to archive the log to: s3://bucket/prefix or file:///path (default: off)"},
		&cli.DurationFlag{Name: "archive-every", Sources: variable("ARCHIVE_EVERY"), Value: defaults.ArchiveEvery, Usage: "`time` after which new entries go to --archive at the latest"},
		&cli.StringFlag{Name: "archive-rate", Sources: variable("ARCHIVE_RATE"), Value: "10MiB", Usage: "`bytes` a second to upload to --archive at most: 512KiB, 10MiB, 1GiB"},
		&cli.StringFlag{Name: "archive-keep-local", Sources: variable("ARCHIVE_KEEP_LOCAL"), Usage: "`bytes` of full segments to keep; older ones go once --archive has them: 100GiB (default: all)"},
		&cli.StringFlag{Name: "archive-cache", Sources: variable("ARCHIVE_CACHE"), Value: "1GiB", Usage: "`bytes` on disk for what is read back from --archive"},
		&cli.BoolFlag{Name: "archive-take-over", Sources: variable("ARCHIVE_TAKE_OVER"), Usage: "take over the archive of another directory of this log, which no server may use again"},
		&cli.IntFlag{Name: "max-entry", Sources: variable("MAX_ENTRY"), Value: defaults.MaxEntry, Usage: "largest entry in `bytes`"},
		&cli.IntFlag{Name: "max-connections", Sources: variable("MAX_CONNECTIONS"), Value: server.NewConfig().MaxConnections, Usage: "`number` of connections to serve at once"},
		&cli.IntFlag{Name: "sync-replicas", Sources: variable("SYNC_REPLICAS"), Usage: "`number` of replicas that must have an entry on disk too before it is acknowledged"},
		&cli.DurationFlag{Name: "write-timeout", Sources: variable("WRITE_TIMEOUT"), Value: defaults.WriteTimeout, Usage: "`time` after which a peer that reads nothing is disconnected"},
		&cli.StringFlag{Name: "log-level", Sources: variable("LOG_LEVEL"), Value: "info", Usage: "lowest `level` to log: trace, debug, info, warn, error, fatal or silent"},
		&cli.StringFlag{Name: "tls-cert", Sources: variable("TLS_CERT"), Usage: "PEM `file` of the server's certificates: speak TLS"},
		&cli.StringFlag{Name: "tls-key", Sources: variable("TLS_KEY"), Usage: "PEM `file` of the private key to --tls-cert"},
		&cli.StringFlag{Name: "tls-client-ca", Sources: variable("TLS_CLIENT_CA"), Usage: "PEM `file` of the authorities whose certificates admit clients"},
		&cli.StringFlag{Name: "tls-min-version", Sources: variable("TLS_MIN_VERSION"), Value: "1.3", Usage: "oldest `version` of TLS to accept: 1.3 or 1.2"},
		&cli.StringFlag{Name: "tokens", Sources: variable("TOKENS"), Usage: "`file` of the tokens that admit clients, lines `name sha256-of-token read|write|both`"},
		&cli.BoolFlag{Name: "insecure", Sources: variable("INSECURE"), Usage: "allow a --host or --http without access control, or --metrics, on an address other than loopback"},
		&cli.StringFlag{Name: "http", Sources: variable("HTTP"), Usage: "`host:port` on which to serve HTTP and the page; :8090 is on --host (default: off)"},
		&cli.StringFlag{Name: "http-names", Sources: variable("HTTP_NAMES"), Usage: "`names` by which browsers reach --http, beside localhost and its address: a,b"},
		&cli.StringFlag{Name: "http-origins", Sources: variable("HTTP_ORIGINS"), Usage: "`origins` of other sites whose pages may use --http: https://a,https://b"},
		&cli.StringFlag{Name: "cluster-nodes", Sources: variable("CLUSTER_NODES"), Usage: "`nodes` of a cluster that keeps the log, all of them: a=host1:6222,b=host2:6222,c=host3:6222"},
		&cli.StringFlag{Name: "cluster-node", Sources: variable("CLUSTER_NODE"), Usage: "`name` of the one among --cluster-nodes that this is"},
		&cli.StringFlag{Name: "cluster-secret-file", Sources: variable("CLUSTER_SECRET_FILE"), Usage: "`file` of the secret that admits a node to the cluster: the same on all nodes"},
		&cli.StringFlag{Name: "cluster-tls-cert", Sources: variable("CLUSTER_TLS_CERT"), Usage: "PEM `file` of the certificate that the node shows to the others, or to --nats-url"},
		&cli.StringFlag{Name: "cluster-tls-key", Sources: variable("CLUSTER_TLS_KEY"), Usage: "PEM `file` of the private key to --cluster-tls-cert"},
		&cli.StringFlag{Name: "cluster-tls-ca", Sources: variable("CLUSTER_TLS_CA"), Usage: "PEM `file` of the authorities whose certificates the other nodes, or --nats-url, must have"},
		&cli.StringFlag{Name: "cluster-seed", Sources: variable("CLUSTER_SEED"), Usage: "`directory` of a log, stopped or a copy, with which a new cluster begins: set it on the first of --cluster-nodes"},
		&cli.StringFlag{Name: "nats-url", Sources: variable("NATS_URL"), Usage: "`URLs` of a NATS cluster that keeps the log, instead of --cluster-nodes: nats://a:4222,nats://b:4222"},
		&cli.StringFlag{Name: "nats-creds", Sources: variable("NATS_CREDS"), Usage: "`file` of the credentials for --nats-url"},
		&cli.StringFlag{Name: "nats-stream", Sources: variable("NATS_STREAM"), Value: defaults.Cluster.Stream, Usage: "`name` of the stream of JetStream that has the log"},
		&cli.StringFlag{Name: "head", Sources: variable("HEAD"), Value: defaults.Cluster.Head, Usage: "who says how far the log in a cluster goes: its `leader`, or a quorum"},
		&cli.DurationFlag{Name: "give-up", Sources: variable("GIVE_UP"), Value: defaults.Cluster.GiveUp, Usage: "`time` that an append waits for a majority of the cluster"},
		&cli.StringFlag{Name: "metrics", Sources: variable("METRICS"), Usage: "`host:port` on which to serve /metrics, /healthz and /readyz over HTTP (default: off)"},
		&cli.BoolFlag{Name: "pprof", Sources: variable("PPROF"), Usage: "serve /debug/pprof on --metrics too"},
	}
	for _, f := range flags { // otherwise every command would have it too
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Local = true
		case *cli.IntFlag:
			f.Local = true
		case *cli.BoolFlag:
			f.Local = true
		case *cli.DurationFlag:
			f.Local = true
		}
	}
	return flags
}

// daemonConfig returns what the flags say, without the logger and other things that only a
// process has.
func daemonConfig(cmd *cli.Command) (config daemon.Config, level zerolog.Level, err error) {
	config = daemon.NewConfig(cmd.String("data"))
	config.Host, config.Port = cmd.String("host"), cmd.Int("port")
	config.WAL, config.Blobs, config.LooseMax = cmd.String("wal"), cmd.String("blobs"), cmd.Int("loose-max")
	config.Archive, config.ArchiveEvery, config.ArchiveTakeOver = cmd.String("archive"), cmd.Duration("archive-every"), cmd.Bool("archive-take-over")
	if config.ArchiveRate, err = printable.ParseBytes(cmd.String("archive-rate")); err != nil {
		return config, 0, daemon.ConfigError("archive-rate: " + err.Error())
	}
	if keep := cmd.String("archive-keep-local"); keep != "" {
		if config.ArchiveKeepLocal, err = printable.ParseBytes(keep); err != nil {
			return config, 0, daemon.ConfigError("archive-keep-local: " + err.Error())
		}
	}
	if config.ArchiveCache, err = printable.ParseBytes(cmd.String("archive-cache")); err != nil {
		return config, 0, daemon.ConfigError("archive-cache: " + err.Error())
	}
	config.MaxEntry, config.WriteTimeout = cmd.Int("max-entry"), cmd.Duration("write-timeout")
	config.SyncReplicas = cmd.Int("sync-replicas")
	config.Cluster = daemon.Cluster{
		Nodes: cmd.String("cluster-nodes"), Node: cmd.String("cluster-node"), SecretFile: cmd.String("cluster-secret-file"),
		TLSCert: cmd.String("cluster-tls-cert"), TLSKey: cmd.String("cluster-tls-key"), TLSCA: cmd.String("cluster-tls-ca"),
		URL: cmd.String("nats-url"), Creds: cmd.String("nats-creds"), Stream: cmd.String("nats-stream"),
		Seed: cmd.String("cluster-seed"), Head: cmd.String("head"), GiveUp: cmd.Duration("give-up"),
	}
	if cmd.IsSet("max-connections") {
		if config.MaxConnections = cmd.Int("max-connections"); config.MaxConnections < 1 {
			return config, 0, daemon.ConfigError(fmt.Sprintf("max-connections is %d, want 1 or more", config.MaxConnections))
		}
	}
	config.TLSCert, config.TLSKey, config.TLSClientCA = cmd.String("tls-cert"), cmd.String("tls-key"), cmd.String("tls-client-ca")
	switch version := cmd.String("tls-min-version"); version {
	case "1.2":
		config.TLSMinVersion = tls.VersionTLS12
	case "1.3":
		config.TLSMinVersion = tls.VersionTLS13
	default:
		return config, 0, daemon.ConfigError(fmt.Sprintf("tls-min-version is %q, want 1.3 or 1.2", version))
	}
	config.Tokens, config.Insecure = cmd.String("tokens"), cmd.Bool("insecure")
	config.HTTP, config.HTTPNames, config.HTTPOrigins = cmd.String("http"), listed(cmd.String("http-names")), listed(cmd.String("http-origins"))
	config.Metrics, config.Pprof = cmd.String("metrics"), cmd.Bool("pprof")
	config.Systemd = true
	if level, err = daemon.ParseLevel(cmd.String("log-level")); err != nil {
		return config, 0, err
	}
	return config, level, config.Validate()
}

// listed returns the parts of a comma-separated list.
func listed(list string) (parts []string) {
	if list == "" {
		return nil
	}
	for part := range strings.SplitSeq(list, ",") {
		parts = append(parts, strings.TrimSpace(part))
	}
	return parts
}

// serve runs the server until a signal ends it.
func serve(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return unknownCommand(cmd, cmd.Args().First())
	}
	config, level, err := daemonConfig(cmd)
	return runLogged(ctx, cmd, config, level, err)
}

// runLogged runs the server with the logger of the command, unless err, the reason why its
// settings cannot be used, is not nil.
func runLogged(ctx context.Context, cmd *cli.Command, config daemon.Config, level zerolog.Level, err error) error {
	if err == nil {
		signal.Ignore(syscall.SIGPIPE) // losing the reader of the log is no reason to end
		var closeLog func()
		config.Logger, closeLog = daemon.NewLogger(os.Stdout, level)
		defer closeLog()
		warnOfOldSettings(config.Logger)
		err = runDaemon(ctx, config, closeLog)
	}
	if wrong, ok := errors.AsType[daemon.ConfigError](err); ok {
		return usageError(cmd, wrong.Error())
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return cli.Exit(err.Error()+hostAdvice(cmd, dns.Name), ExitFailure)
	}
	if err != nil {
		return cli.Exit(err, ExitFailure)
	}
	return nil
}

// warnOfOldSettings names the variables that the original server would have read and this one
// does not.
func warnOfOldSettings(logger zerolog.Logger) {
	for _, name := range []string{"LEVELDB", "LEVELDOWN", "FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			logger.Warn().Str("event", "ignored").Str("variable", name).Str("value", value).
				Msg("this setting of the original server has no meaning here; WAL names the directory of the index, DATA that of the whole log")
		}
	}
}

// signalGap is the time within which two signals count as one: a terminal and a process that
// passes signals on can both send the same one.
const signalGap = 250 * time.Millisecond

// stopMax is the longest time from the signal to the end of the process. Writes that the disk has
// not finished by then have not been acknowledged.
const stopMax = 9500 * time.Millisecond

// runDaemon runs the server until a signal ends it. Another signal ends the process at once, and
// so does a disk that takes too long for a clean end. SIGHUP reloads, except on a terminal, where
// it says that the terminal is gone.
func runDaemon(ctx context.Context, config daemon.Config, closeLog func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, reload := make(chan os.Signal, 8), make(chan struct{}, 1)
	config.Reload = reload
	defer func() {
		signal.Stop(signals)
		close(signals)
	}()
	config.OnReady = func(net.Addr) { // before that there is nothing to end cleanly
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	}
	go func() {
		var began time.Time     // when the first signal came
		var overdue *time.Timer // ends the process stopMax after it
		for sig := range signals {
			switch {
			case sig == syscall.SIGHUP && !isatty.IsTerminal(os.Stdout.Fd()):
				select {
				case reload <- struct{}{}:
				default: // one is already due
				}
			case began.IsZero():
				began = time.Now()
				config.Logger.Info().Str("event", "stopping").Stringer("signal", sig).Msg("server stopping")
				cancel()
				overdue = time.AfterFunc(stopMax, func() {
					config.Logger.Warn().Str("event", "stopped").Msg("server stopped at once: the disk takes too long for an orderly end")
					closeLog()
					os.Exit(ExitFailure)
				})
			case time.Since(began) > signalGap:
				config.Logger.Warn().Str("event", "stopped").Stringer("signal", sig).Msg("server stopped at once, by a second signal")
				closeLog()
				os.Exit(ExitFailure)
			}
		}
		if overdue != nil {
			overdue.Stop()
		}
	}()
	limitGarbageOf(&config)
	return daemon.Run(ctx, config)
}
