package daemon

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// passedSocket returns the socket that systemd has opened for the process, or nil if no socket unit
// started it.
func passedSocket() (net.Listener, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	for _, f := range files {
		defer f.Close() // a listener has its own descriptor
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

// manager is the service manager that started the process: systemd, or another that speaks its protocol.
// The zero manager sends nothing.
type manager struct {
	present bool
	logger  zerolog.Logger
	// interval is the longest time that the manager allows between signs of life, 0 if it wants none.
	interval time.Duration
}

// newManager reads the service manager's wishes from the environment.
func newManager(logger zerolog.Logger) *manager {
	m := &manager{present: true, logger: logger}
	var err error
	if m.interval, err = sdnotify.SdWatchdogEnabled(false); err != nil {
		logger.Warn().Err(err).Str("event", "systemd").Msg("no signs of life will be sent")
	}
	return m
}

// ready says that the server listens, or has reloaded its files. status is for people.
func (m *manager) ready(status string) { m.notify(sdnotify.SdNotifyReady + "\nSTATUS=" + status) }

// reloading says that the server is reloading its files, until it is ready.
func (m *manager) reloading() {
	m.notify(sdnotify.SdNotifyReloading + "\n" + sdnotify.SdNotifyMonotonicUsec() + "STATUS=reloading files")
}

// waiting says what the start waits for, and asks for another minute.
func (m *manager) waiting(status string) { m.notify("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=" + status) }

// stopping says that an orderly end has begun.
func (m *manager) stopping() { m.notify(sdnotify.SdNotifyStopping + "\nSTATUS=stopping") }

func (m *manager) notify(state string) {
	if !m.present {
		return
	}
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		m.logger.Warn().Err(err).Str("event", "systemd").Msg("cannot notify the service manager")
	}
}

// watchdog sends signs of life, three in each interval, each after check has returned without an error.
// stop ends that; it does not wait for a check that hangs.
func (m *manager) watchdog(check func(context.Context) error) (stop func()) {
	if m.interval == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(m.interval / 3)
		defer ticks.Stop()
		for {
			switch err := check(ctx); {
			case ctx.Err() != nil:
				return
			case err != nil:
				m.logger.Error().Err(err).Str("event", "systemd").Msg("the log does not answer, so no sign of life is sent")
			default:
				m.notify(sdnotify.SdNotifyWatchdog)
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
		case <-time.After(m.interval / 3):
		}
	}
}
