package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/urfave/cli/v3"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// shutdownTime is how long an orderly end may take: connections that are still
// open then are cut off. It leaves the log's own closing time within 10 s.
const shutdownTime = 4 * time.Second

// signalGap is how close behind each other two signals are one: a terminal and a
// process that passes signals on can send the same one twice.
const signalGap = 250 * time.Millisecond

// service is the daemon: the log, its server, and those who watch over both.
type service struct {
	cmd      *cli.Command
	logger   zerolog.Logger
	closeLog func() // ends the logger
	entrance *entrance
	watch    *watch
	manager  *manager

	log *engine.Log
	ln  net.Listener
	srv *server.Server

	signals chan os.Signal // end the service
	hangups chan os.Signal // reload what can be reloaded
}

// newService reads the settings and the files that they name, and begins to be
// watched. It touches nothing of the log.
func newService(cmd *cli.Command) (s *service, err error) {
	s = &service{cmd: cmd, signals: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1)}
	if s.entrance, err = newEntrance(cmd); err != nil {
		return nil, err
	}
	if err := s.entrance.allowHost(cmd.String("host")); err != nil {
		return nil, cli.Exit(err.Error(), ExitUsage)
	}
	s.logger, s.closeLog = newLogger(os.Stdout, cmd.String("log-level"))
	if s.watch, err = newWatch(cmd, s.logger); err != nil {
		s.closeLog()
		return nil, err
	}
	s.manager = newManager(s.logger)
	return s, nil
}

// run opens the log, serves it until a signal ends that, and closes it.
func (s *service) run() error {
	defer s.closeLog()
	defer s.watch.close()
	s.warnOfOldSettings()
	if err := s.open(); err != nil {
		return err
	}
	defer signal.Stop(s.signals)
	defer signal.Stop(s.hangups)
	if err := s.listen(); err != nil {
		return errors.Join(err, s.log.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.srv.Serve(s.ln) }()
	err := s.attend(served)
	if err := errors.Join(err, s.stop()); err != nil {
		return err
	}
	s.logger.Info().Str("event", "stopped").Send()
	return nil
}

// warnOfOldSettings names what the original server would have taken from the
// environment and this one does not.
func (s *service) warnOfOldSettings() {
	for _, name := range []string{"LEVELDB", "LEVELDOWN", "FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			s.logger.Warn().Str("event", "ignored").Str("variable", name).Str("value", value).
				Msg("this setting of the original server has no meaning here; WAL names the directory of the index, DATA that of the whole log")
		}
	}
}

// open opens the log and recovers it.
func (s *service) open() (err error) {
	config := engine.NewConfig(s.cmd.String("data"))
	config.WAL, config.Blobs = s.cmd.String("wal"), s.cmd.String("blobs")
	config.LooseMax = s.cmd.Int("loose-max")
	config.Logger = s.logger
	if config, err = tune(config); err != nil {
		return err
	}
	s.watch.hook(&config, nil)
	if s.log, err = engine.Open(config); err != nil {
		return err
	}
	// Only now: until the log is open there is nothing to end in good order.
	signal.Notify(s.signals, os.Interrupt, syscall.SIGTERM)
	// A terminal that goes takes its server with it; elsewhere SIGHUP reloads.
	if isatty.IsTerminal(os.Stdout.Fd()) {
		signal.Notify(s.signals, syscall.SIGHUP)
	} else {
		signal.Notify(s.hangups, syscall.SIGHUP)
	}
	return nil
}

// listen begins to listen, and makes the server.
func (s *service) listen() (err error) {
	if s.ln, err = listen(s.cmd.String("host"), s.cmd.Int("port")); err != nil {
		return err
	}
	if err := s.entrance.allow(s.ln.Addr()); err != nil {
		s.ln.Close()
		return err
	}
	config := server.Config{
		MaxEntry:       s.cmd.Int("max-entry"),
		MaxConnections: s.maxConnections(),
		WriteTimeout:   s.cmd.Duration("write-timeout"),
		Stat:           newStat(s),
		Logger:         s.logger,
	}
	s.entrance.configure(&config)
	s.watch.hook(nil, &config)
	s.srv = server.New(s.log, config)
	s.watch.show(s.log, s.srv)
	head, _ := s.log.Head(context.Background())
	addr := s.ln.Addr().(*net.TCPAddr)
	s.logger.Info().Str("event", "listening").Int("port", addr.Port).Str("address", addr.IP.String()).
		Str("data", s.cmd.String("data")).Uint64("head", head).Send()
	s.entrance.warn(s.logger, addr)
	return nil
}

// maxConnections is --max-connections, or what the limit of open files allows.
func (s *service) maxConnections() int {
	most := s.cmd.Int("max-connections")
	n := connectionsFor(most)
	if n < most && s.cmd.IsSet("max-connections") {
		s.logger.Warn().Str("event", "limited").Int("connections", n).Msg("the limit of open files (ulimit -n) allows no more connections")
	}
	return n
}

// attend keeps the service manager informed and reloads when told to, until a
// signal ends the service or the server ends by itself, which is an error.
func (s *service) attend(served <-chan error) error {
	status := fmt.Sprintf("listening on %s", s.ln.Addr())
	s.manager.ready(status)
	endWatch := s.manager.watch(answers(s.log))
	defer endWatch()
	for {
		select {
		case <-s.hangups:
			s.manager.reloading()
			s.entrance.reload(s.logger, s.srv, s.ln.Addr())
			s.manager.ready(status)
		case err := <-served:
			return err
		case sig := <-s.signals:
			s.logger.Info().Str("event", "stopping").Stringer("signal", sig).Send()
			go s.hurry()
			return nil
		}
	}
}

// hurry ends the process at once when another signal comes.
func (s *service) hurry() {
	again := time.Now().Add(signalGap)
	sig := <-s.signals
	for time.Now().Before(again) {
		sig = <-s.signals
	}
	s.logger.Warn().Str("event", "stopped").Stringer("signal", sig).Msg("at once, by a second signal")
	s.closeLog()
	os.Exit(ExitFailure)
}

// stop ends the server, and then the log.
func (s *service) stop() error {
	s.manager.stopping()
	s.watch.stopping()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		s.logger.Warn().Str("event", "stopping").Msg("connections were cut off that did not take what was due to them")
	}
	return s.log.Close()
}
