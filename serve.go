package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v3"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// shutdownTime is how long an orderly end may take: connections that are still
// open then are cut off. It leaves the log's own closing time within 10 s.
const shutdownTime = 4 * time.Second

// gcPercent is by how much of itself the heap grows between two collections.
const gcPercent = 400

// gcLimit is the size in bytes up to which it may grow so much.
const gcLimit = 512 << 20

// signalGap is how close behind each other two signals are one: a terminal and a
// process that passes signals on can send the same one twice.
const signalGap = 250 * time.Millisecond

// serveCommand is the command that runs when no other is named.
func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "tcp-log-server",
		Usage: "serve an append-only log of JSON entries over TCP",
		Description: "Appends with {\"id\":\"x\",\"entry\":{…}}, streams and follows with {\"from\":1}: one JSON\n" +
			"object a line. An acknowledgement means that the entry is on disk.\n\n" +
			"Each flag can be given as the environment variable beside it instead.",
		ArgsUsage: " ",
		Flags:     settings(),
		Action:    action(serve),
	}
}

// settings are the flags of the daemon.
func settings() []cli.Flag {
	logConfig, serverConfig := engine.NewConfig("tcp-log-server.data"), server.NewConfig()
	flags := []cli.Flag{
		&cli.IntFlag{Name: "port", Sources: cli.EnvVars("PORT"), Value: 8089, Usage: "TCP `port` to listen on; 0 picks one", Validator: between("port", 0, 65535)},
		&cli.StringFlag{Name: "host", Sources: cli.EnvVars("HOST"), Value: "127.0.0.1", Usage: "`address` to listen on; 0.0.0.0 or :: for all", Validator: func(s string) error {
			if s == "" {
				return errors.New("host is empty, want an address: 127.0.0.1, or 0.0.0.0 for all")
			}
			return nil
		}},
		&cli.StringFlag{Name: "data", Sources: cli.EnvVars("DATA"), Value: "./" + logConfig.Data, Usage: "`directory` of the log, or \"memory\" to keep nothing"},
		&cli.StringFlag{Name: "wal", Sources: cli.EnvVars("WAL"), Usage: "`directory` of the index, or \"memory\" (default: wal in --data)"},
		&cli.StringFlag{Name: "blobs", Sources: cli.EnvVars("BLOBS"), Usage: "`directory` of the blobs, or \"memory\" (default: blobs in --data)"},
		&cli.IntFlag{Name: "loose-max", Sources: cli.EnvVars("LOOSE_MAX"), Value: logConfig.LooseMax, Usage: "`number` of blob files to write at most; 0 for none, -1 for no limit", Validator: between("loose-max", -1, 1<<40)},
		&cli.IntFlag{Name: "max-entry", Sources: cli.EnvVars("MAX_ENTRY"), Value: serverConfig.MaxEntry, Usage: "largest entry in `bytes`", Validator: between("max-entry", 1, 512<<20)},
		&cli.IntFlag{Name: "max-connections", Sources: cli.EnvVars("MAX_CONNECTIONS"), Value: serverConfig.MaxConnections, Usage: "`number` of connections to serve at once", Validator: between("max-connections", 1, 1<<20)},
		&cli.DurationFlag{Name: "write-timeout", Sources: cli.EnvVars("WRITE_TIMEOUT"), Value: serverConfig.WriteTimeout, Usage: "`time` after which a peer that takes nothing is dropped", Validator: func(d time.Duration) error {
			if d < time.Second {
				return fmt.Errorf("write-timeout is %v, want 1s or more", d)
			}
			return nil
		}},
		&cli.StringFlag{Name: "log-level", Sources: cli.EnvVars("LOG_LEVEL"), Value: "info", Usage: "least `level` to log: trace, debug, info, warn, error, fatal or silent", Validator: func(s string) error {
			if _, ok := levels[s]; !ok {
				return fmt.Errorf("log-level is %q, want trace, debug, info, warn, error, fatal or silent", s)
			}
			return nil
		}},
	}
	return append(append(flags, entranceFlags()...), watchFlags()...)
}

// between checks that a number lies in lo..hi.
func between(name string, lo, hi int) func(int) error {
	return func(n int) error {
		if n < lo || n > hi {
			return fmt.Errorf("%s is %d, want %d to %d", name, n, lo, hi)
		}
		return nil
	}
}

// serve runs the daemon until a signal ends it.
func serve(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return cli.Exit(fmt.Sprintf("there is no command %q; see `tcp-log-server --help`", cmd.Args().First()), exitUsage)
	}
	logger, closeLog := newLogger(os.Stdout, cmd.String("log-level"))
	defer closeLog()
	for _, name := range []string{"LEVELDB", "LEVELDOWN", "FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			logger.Warn().Str("event", "ignored").Str("variable", name).Str("value", value).
				Msg("this setting of the original server has no meaning here; WAL names the directory of the index, DATA that of the whole log")
		}
	}

	entrance, err := newEntrance(cmd)
	if err != nil {
		return err
	}
	if err := entrance.allowHost(cmd.String("host")); err != nil {
		return cli.Exit(err.Error(), exitUsage)
	}
	watcher, err := newWatch(cmd, logger)
	if err != nil {
		return err
	}
	defer watcher.close()

	// Little of what the server allocates lives long, and what does is small: at
	// the default of 100 it would collect many times a second under load. Where a
	// lot is in flight, the limit makes it collect sooner.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(gcLimit)
	}

	config := engine.NewConfig(cmd.String("data"))
	config.WAL, config.Blobs = cmd.String("wal"), cmd.String("blobs")
	config.LooseMax = cmd.Int("loose-max")
	config.Logger = logger
	if config, err = tune(config); err != nil {
		return err
	}
	watcher.hook(&config, nil)
	log, err := engine.Open(config)
	if err != nil {
		return err
	}
	// Only now: until the log is open there is nothing to end in good order.
	signals, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	// A terminal that goes takes its server with it; elsewhere SIGHUP reloads.
	if isatty.IsTerminal(os.Stdout.Fd()) {
		signal.Notify(signals, syscall.SIGHUP)
	} else {
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
	}

	ln, err := listen(cmd.String("host"), cmd.Int("port"))
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := entrance.allow(ln.Addr()); err != nil {
		ln.Close()
		return errors.Join(err, log.Close())
	}
	serverConfig := server.Config{
		MaxEntry:       cmd.Int("max-entry"),
		MaxConnections: cmd.Int("max-connections"),
		WriteTimeout:   cmd.Duration("write-timeout"),
		Logger:         logger,
	}
	entrance.configure(&serverConfig)
	watcher.hook(nil, &serverConfig)
	srv := server.New(log, serverConfig)
	watcher.show(log, srv)
	head, _ := log.Head(context.Background())
	addr := ln.Addr().(*net.TCPAddr)
	logger.Info().Str("event", "listening").Int("port", addr.Port).Str("address", addr.IP.String()).
		Str("data", config.Data).Uint64("head", head).Send()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	manager := newManager(logger)
	manager.ready(fmt.Sprintf("listening on %s", addr))
	endWatch := manager.watch(answers(log))

	entrance.warn(logger, addr)
	for running := true; running; {
		running = false
		select {
		case <-hangups:
			entrance.reload(logger, srv, addr)
			running = true
		case err = <-served:
		case s := <-signals:
			logger.Info().Str("event", "stopping").Stringer("signal", s).Send()
			go func() {
				again := time.Now().Add(signalGap)
				s := <-signals
				for time.Now().Before(again) {
					s = <-signals
				}
				logger.Warn().Str("event", "stopped").Stringer("signal", s).Msg("at once, by a second signal")
				closeLog()
				os.Exit(exitFailure)
			}()
		}
	}
	manager.stopping()
	watcher.stopping()
	endWatch()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		logger.Warn().Str("event", "stopping").Msg("connections were cut off that did not take what was due to them")
	}
	if err := errors.Join(err, log.Close()); err != nil {
		return err
	}
	logger.Info().Str("event", "stopped").Send()
	return nil
}
