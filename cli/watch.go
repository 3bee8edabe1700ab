package cli

import (
	"fmt"
	"net"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v3"

	"tcp-log-server/engine"
	"tcp-log-server/internal/build"
	"tcp-log-server/internal/metrics"
	"tcp-log-server/server"
)

// watchFlags are the settings of what shows the server to those who watch it.
func watchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "metrics", Sources: cli.EnvVars("METRICS"), Usage: "`host:port` on which to serve /metrics, /healthz and /readyz over HTTP (default: off)", Validator: func(s string) error {
			if _, _, err := net.SplitHostPort(s); s != "" && err != nil {
				return fmt.Errorf("metrics is %q, want host:port, like 127.0.0.1:9100", s)
			}
			return nil
		}},
		&cli.BoolFlag{Name: "pprof", Sources: cli.EnvVars("PPROF"), Usage: "serve /debug/pprof on --metrics too"},
	}
}

// watch shows the server to those who watch it. A nil one, of a server that nobody
// watches, does nothing and costs nothing.
type watch struct {
	exporter *metrics.Exporter
	endpoint *metrics.Endpoint
	logger   zerolog.Logger
}

// newWatch begins to listen where the settings say. It comes before the log is
// recovered, so that those who watch are told of that.
func newWatch(cmd *cli.Command, logger zerolog.Logger) (*watch, error) {
	addr, profiles := cmd.String("metrics"), cmd.Bool("pprof")
	switch {
	case addr == "" && profiles:
		return nil, cli.Exit("--pprof needs --metrics, which says where", ExitUsage)
	case addr == "":
		return nil, nil
	}
	b := build.This()
	exporter := metrics.New(metrics.Build{Version: b.Version, Revision: b.Revision})
	endpoint, err := metrics.Listen(addr, exporter, profiles)
	if err != nil {
		return nil, err
	}
	event := logger.Info().Str("event", "metrics")
	if at, ok := endpoint.Addr().(*net.TCPAddr); ok {
		event = event.Int("port", at.Port).Str("address", at.IP.String())
	}
	event.Send()
	return &watch{exporter: exporter, endpoint: endpoint, logger: logger}, nil
}

// hook makes the log and the server tell what no snapshot can. Either may be nil.
func (w *watch) hook(log *engine.Config, srv *server.Config) {
	if w == nil {
		return
	}
	if log != nil {
		log.OnBatch = w.exporter.Batch
	}
	if srv != nil {
		srv.OnAck = w.exporter.Ack
	}
}

// show shows the log, which is recovered, and its server, which listens.
func (w *watch) show(log *engine.Log, srv *server.Server) {
	if w != nil {
		w.exporter.Show(metrics.Sources{Log: log.Stats, Server: srv.Stats, Refusing: log.Refusing})
	}
}

// stopping tells that the server is ending.
func (w *watch) stopping() {
	if w != nil {
		w.endpoint.Stopping()
	}
}

// close ends it all.
func (w *watch) close() {
	if w == nil {
		return
	}
	if err := w.endpoint.Close(); err != nil {
		w.logger.Warn().Err(err).Str("event", "metrics").Msg("the endpoint had ended before the server did")
	}
}
