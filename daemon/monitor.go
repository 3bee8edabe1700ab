package daemon

import (
	"net"

	"github.com/rs/zerolog"

	"tcp-log-server/engine"
	"tcp-log-server/internal/build"
	"tcp-log-server/internal/metrics"
	"tcp-log-server/server"
)

// monitor is the endpoint for metrics and health. A nil one, of a daemon without such an
// endpoint, does nothing and costs nothing.
type monitor struct {
	exporter *metrics.Exporter
	endpoint *metrics.Endpoint
	logger   zerolog.Logger
}

// newMonitor starts the endpoint, if the settings ask for one. It does so before the log is
// recovered, so that the endpoint can report that.
func newMonitor(c Config) (*monitor, error) {
	if c.Metrics == "" {
		return nil, nil
	}
	b := build.This()
	exporter := metrics.New(metrics.Build{Version: b.Version, Revision: b.Revision})
	endpoint, err := metrics.Listen(c.Metrics, exporter, c.Pprof)
	if err != nil {
		return nil, err
	}
	event := c.Logger.Info().Str("event", "metrics")
	if at, ok := endpoint.Addr().(*net.TCPAddr); ok {
		event.Int("port", at.Port).Str("address", at.IP.String())
	}
	event.Send()
	return &monitor{exporter: exporter, endpoint: endpoint, logger: c.Logger}, nil
}

// hook makes the log and the server report what their snapshots do not have. Either may be nil.
func (m *monitor) hook(log *engine.Config, srv *server.Config) {
	if m == nil {
		return
	}
	if log != nil {
		log.OnBatch = m.exporter.Batch
	}
	if srv != nil {
		srv.OnAck = m.exporter.Ack
	}
}

// show adds the recovered log and its server to what the endpoint shows.
func (m *monitor) show(log *engine.Log, srv *server.Server) {
	if m != nil {
		m.exporter.Show(metrics.Sources{Log: log.Stats, Server: srv.Stats, Refusing: log.Refusing})
	}
}

// stopping makes the endpoint report that the daemon is stopping.
func (m *monitor) stopping() {
	if m != nil {
		m.endpoint.Stopping()
	}
}

// close ends the endpoint.
func (m *monitor) close() {
	if m == nil {
		return
	}
	if err := m.endpoint.Close(); err != nil {
		m.logger.Warn().Err(err).Str("event", "metrics").Msg("the endpoint had ended before the server did")
	}
}
