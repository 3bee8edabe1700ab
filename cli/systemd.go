package cli

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"tcp-log-server/engine"
)

// listen returns the socket that systemd has opened for the server, where a
// socket unit has started it, and else opens one at host and port.
func listen(host string, port int) (net.Listener, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	}
	for _, f := range files {
		defer f.Close() // a listener has a descriptor of its own
	}
	if len(files) > 1 {
		return nil, fmt.Errorf("systemd has passed %d sockets, want one: leave one ListenStream= in the socket unit", len(files))
	}
	ln, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("the socket that systemd has passed, %s: %w; want ListenStream= with a port in the socket unit", files[0].Name(), err)
	}
	if _, ok := ln.Addr().(*net.TCPAddr); !ok {
		ln.Close()
		return nil, fmt.Errorf("the socket that systemd has passed, %s, is at %s %s, want TCP: ListenStream= with a port in the socket unit", files[0].Name(), ln.Addr().Network(), ln.Addr())
	}
	return ln, nil
}

// manager is the service manager that has started the process: systemd, or what
// speaks its protocol. Where there is none, what it is told goes nowhere.
type manager struct {
	log zerolog.Logger
	// watchdog is the time within which it wants each sign of life, 0 for never.
	watchdog time.Duration
}

// newManager reads from the environment what the service manager wants.
func newManager(log zerolog.Logger) *manager {
	m := &manager{log: log}
	var err error
	if m.watchdog, err = sdnotify.SdWatchdogEnabled(false); err != nil {
		log.Warn().Err(err).Str("event", "systemd").Msg("there will be no signs of life")
	}
	return m
}

// ready tells that the server listens, or has read its files anew. status is for
// people.
func (m *manager) ready(status string) { m.tell(sdnotify.SdNotifyReady + "\nSTATUS=" + status) }

// reloading tells that the server reads its files anew, until it is ready again.
func (m *manager) reloading() {
	m.tell(sdnotify.SdNotifyReloading + "\n" + sdnotify.SdNotifyMonotonicUsec() + "STATUS=reading files anew")
}

// stopping tells that an orderly end has begun.
func (m *manager) stopping() { m.tell(sdnotify.SdNotifyStopping + "\nSTATUS=stopping") }

func (m *manager) tell(state string) {
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		m.log.Warn().Err(err).Str("event", "systemd").Msg("the service manager could not be told")
	}
}

// watch gives signs of life, three within the time in which one is wanted, each
// after check has returned without an error. What it returns is their end; a
// check that hangs does not hold it up.
func (m *manager) watch(check func(context.Context) error) (stop func()) {
	if m.watchdog == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(m.watchdog / 3)
		defer ticks.Stop()
		for {
			switch err := check(ctx); {
			case ctx.Err() != nil:
				return
			case err != nil:
				m.log.Error().Err(err).Str("event", "systemd").Msg("the log does not answer, so there is no sign of life")
			default:
				m.tell(sdnotify.SdNotifyWatchdog)
			}
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(m.watchdog / 3):
		}
	}
}

// answers returns a check that the log answers: that its newest entry is read
// to its end. A log that refuses appends still answers, and so does one whose
// newest entry is damaged: a restart would mend neither.
func answers(log *engine.Log) func(context.Context) error {
	return func(ctx context.Context) error {
		head, err := log.Head(ctx)
		if err != nil {
			return err
		}
		return log.Read(ctx, head, head, func(uint64, int, []byte, error) error { return nil })
	}
}
