package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// serveCommand is the command that runs when no other is named.
func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "tcp-log-server",
		Usage: "serve an append-only log of JSON entries over TCP",
		Description: "Appends with {\"id\":\"x\",\"entry\":{…}}, streams and follows with {\"from\":1}: one JSON\n" +
			"object a line. An acknowledgement means that the entry is on disk.\n\n" +
			"Each flag can be given as the environment variable beside it instead.\n\n" +
			"Examples:\n" +
			"   tcp-log-server                                      # on localhost:8089\n" +
			"   PORT=9000 DATA=/var/lib/log tcp-log-server\n" +
			"   tcp-log-server --host 0.0.0.0 --tokens tokens.txt   # for whoever has a token\n" +
			"   tcp-log-server append '{\"hello\":\"world\"}'         # from another terminal\n" +
			"   tcp-log-server tail -f",
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
	flags = append(append(flags, entranceFlags()...), watchFlags()...)
	for _, f := range flags {
		// Else every command would have it too.
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
		return cli.Exit(fmt.Sprintf("there is no command %q; see `tcp-log-server --help`", cmd.Args().First()), ExitUsage)
	}
	s, err := newService(cmd)
	if err != nil {
		return err
	}
	return s.run()
}
