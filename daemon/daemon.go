// Package daemon runs the whole server: the log, its TCP server, TLS and tokens, metrics, and
// notifications to systemd. It knows no flags, no signals and no exit codes; the command tcp-log-server
// adds those, and another program can run a daemon itself:
//
//	config := daemon.NewConfig("/var/lib/log")
//	config.Port = 9000
//	err := daemon.Run(ctx, config) // until ctx ends
//
// Several daemons may run in one process, on directories of their own.
package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/archive"
	"tcp-log-server/engine"
	"tcp-log-server/internal/access"
	"tcp-log-server/internal/archived"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/internal/build"
	"tcp-log-server/internal/metrics"
	"tcp-log-server/internal/syncreplicas"
	"tcp-log-server/server"
)

// Time limits of an orderly end, from its beginning. They leave the log enough time to close within 10 s,
// even if each sync takes a second.
const (
	// commitTime is how long accepted appends are still made durable; the rest are refused as not stored.
	commitTime = 3 * time.Second
	// shutdownTime is when connections that are still open are cut off.
	shutdownTime = 7 * time.Second
)

// daemon is the state of one Run.
type daemon struct {
	config    Config
	logger    zerolog.Logger
	admission *admission
	exporter  *metrics.Exporter // nil if nothing shows it, so that it costs nothing
	endpoint  *metrics.Endpoint // nil if no setting asks for one
	manager   *manager

	own    ownLog            // log or shared
	log    *engine.Log       // nil in a cluster
	shared *shared           // nil without one
	held   *syncreplicas.Log // over log; nil if appends do not wait for replicas
	served server.Log        // log or held
	keeper *archive.Keeper   // nil without an archive
	far    *archived.Archive // nil if all segments are here
	ln     net.Listener
	// anteroom holds connections of ln until a cluster's log is open; nil without a cluster.
	anteroom *anteroom
	waits    atomic.Pointer[string] // what the start waits for
	srv      *server.Server

	site     *site     // nil without HTTP
	follower *follower // nil unless it is a replica
}

// ownLog is what the log of a daemon in a directory has in common with one in a cluster.
type ownLog interface {
	Stats() engine.Stats
	Store() string
	Epochs() []appends.Epoch
	Fenced() (epoch uint64, by string)
	Refusing() error
	Refuse()
}

// Errors in the files that the settings name wrap these.
var (
	ErrTokens       = access.ErrTokens
	ErrCertificates = access.ErrCertificates
)

// Run opens the log, serves it until ctx ends, closes it, and returns nil. When it returns, everything
// that it started has ended, and the log has acknowledged or refused every append that it received.
//
// It returns a ConfigError where Config.Validate does; errors in files that the settings name wrap
// ErrTokens or ErrCertificates; errors of listening are net.Listen's. A directory that holds other files
// and no part of a log is an error. Errors of opening the log are engine.Open's. That comes last: if
// anything else fails, nothing on disk has changed. A failure of the server itself is an error too.
func Run(ctx context.Context, config Config) (err error) {
	if config.Listener != nil {
		defer config.Listener.Close()
	}
	if err := config.Validate(); err != nil {
		return err
	}
	d := &daemon{config: config, logger: config.Logger, manager: &manager{}}
	if d.admission, err = newAdmission(config); err != nil {
		return err
	}
	if err := d.listen(); err != nil {
		return err
	}
	defer d.ln.Close()
	if config.HTTP != "" {
		if err := d.listenHTTP(); err != nil {
			return err
		}
		defer d.site.ln.Close()
	}
	if config.Metrics != "" || config.HTTP != "" {
		b := build.This()
		d.exporter = metrics.New(metrics.Build{Version: b.Version, Revision: b.Revision})
	}
	if config.Metrics != "" {
		if err := d.monitor(); err != nil {
			return err
		}
		defer d.endMonitor()
	}
	if config.Systemd {
		d.manager = newManager(d.logger)
	}
	if ln, ok := d.ln.(*net.TCPListener); ok && config.clustered() {
		var encryption *tls.Config
		if c := d.admission.certificates; c != nil {
			encryption = c.Config()
		}
		d.anteroom = newAnteroom(ln, config.Cluster.GiveUp, encryption, d.waitsFor)
	}
	if err := d.open(ctx); err != nil {
		if d.anteroom != nil {
			d.anteroom.close()
		}
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if config.Source != nil {
		d.follow()
	}
	if d.anteroom != nil {
		d.ln = d.anteroom.leave()
	}
	d.prepare()
	if d.site != nil {
		d.serveHTTP()
	}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- d.srv.Serve(d.ln) })
	err = d.attend(ctx, served)
	err = errors.Join(err, d.stop())
	serving.Wait()
	if err != nil {
		return err
	}
	d.logger.Info().Str("event", "stopped").Msg("server stopped")
	return nil
}

// monitor starts the endpoint for metrics and health before the log is recovered, so that it can report
// the recovery.
func (d *daemon) monitor() (err error) {
	if d.endpoint, err = metrics.Listen(d.config.Metrics, d.exporter, d.config.Pprof); err != nil {
		return listenError(err, "METRICS")
	}
	if err := d.config.checkMetricsExposure(d.endpoint.Addr()); err != nil {
		return errors.Join(err, d.endpoint.Close())
	}
	d.logger.Info().Str("event", "metrics").Func(address(d.endpoint.Addr())).Msg("serving metrics and health")
	if !isLoopback(d.endpoint.Addr()) {
		d.logger.Warn().Str("event", "insecure").Msg("anyone who can reach the address for metrics may read " + d.config.metricsShow())
	}
	return nil
}

func (d *daemon) endMonitor() {
	if err := d.endpoint.Close(); err != nil {
		d.logger.Warn().Err(err).Str("event", "metrics").Msg("the endpoint had ended before the server did")
	}
}

// open opens and recovers the log. Only a replica and a node of a cluster wait for other servers, until
// ctx ends.
func (d *daemon) open(ctx context.Context) (err error) {
	if err := d.config.checkDirectories(); err != nil {
		return err
	}
	if err := d.config.checkKind(); err != nil {
		return err
	}
	if d.config.clustered() {
		return d.openCluster(ctx)
	}
	config := engine.NewConfig(d.config.Data)
	config.WAL, config.Blobs, config.LooseMax = d.config.WAL, d.config.Blobs, d.config.LooseMax
	if bucketblobs.IsURL(config.Blobs) {
		if config.BlobStore, err = bucketblobs.Open(context.Background(), config.Blobs); err != nil {
			return fmt.Errorf("blobs: %w", err)
		}
		config.Blobs = ""
	}
	config.Logger = d.logger
	if d.config.segmentSize > 0 {
		config.SegmentSize = d.config.segmentSize
	}
	if config, err = tune(config); err != nil {
		return err
	}
	if d.exporter != nil {
		config.OnBatch = d.exporter.Batch
	}
	if d.config.Source != nil {
		if err := d.prepareReplica(ctx, &config); err != nil {
			return err
		}
	}
	if archive.Incomplete(d.config.Data) {
		return fmt.Errorf("%s holds an unfinished restore: run `tcp-log-server restore` again", d.config.Data)
	}
	if d.config.Archive != "" {
		if err := d.newKeeper(ctx, config.BlobStore); err != nil {
			return err
		}
		config.MayRemove = d.keeper.Holds
	}
	if err := d.openArchived(ctx, &config); err != nil {
		return err
	}
	if d.log, err = engine.Open(config); err != nil {
		return errors.Join(err, d.closeArchived())
	}
	d.own = d.log
	if d.keeper != nil {
		if err := d.keeper.Start(ctx, d.log); err != nil {
			return errors.Join(fmt.Errorf("ARCHIVE: %w", err), d.log.Close(), d.closeArchived())
		}
	}
	return nil
}

// prepare makes the server.
func (d *daemon) prepare() {
	config := server.Config{
		MaxEntry:       d.config.MaxEntry,
		MaxConnections: connectionsFor(d.config.maxConnections()),
		WriteTimeout:   d.config.WriteTimeout,
		Stat:           newStat(d),
		Logger:         d.logger,
	}
	if config.MaxConnections < d.config.MaxConnections {
		d.logger.Warn().Str("event", "limited").Int("connections", config.MaxConnections).Msg("the limit of open files (ulimit -n) allows no more connections")
	}
	d.admission.configure(&config)
	if d.exporter != nil {
		config.OnAck = d.exporter.Ack
	}
	d.served = d.serve()
	d.srv = server.New(d.served, config)
	if d.exporter != nil {
		sources := metrics.Sources{Log: d.own.Stats, Server: d.srv.Stats, Refusing: d.refusing}
		sources.Fenced = func() bool { _, fenced := d.epoch(); return fenced != nil }
		if d.follower != nil {
			sources.Replica = d.follower.Status
		}
		if d.keeper != nil {
			sources.Archive = d.keeper.Stats
		}
		if d.held != nil {
			sources.Sync = d.held.Stats
		}
		if d.far != nil {
			sources.Archived = d.far.Stats
		}
		if d.shared != nil {
			sources.Cluster = d.shared.log.Stats
		}
		d.exporter.Show(sources)
	}
	// /readyz is ready by now, and whoever reads the log may stop the daemon from the next line on.
	if d.config.OnReady != nil {
		d.config.OnReady(d.ln.Addr())
	}
	d.logger.Info().Str("event", "listening").Func(address(d.ln.Addr())).
		Str("data", d.config.Data).Uint64("head", d.own.Stats().Head).Msg("ready for clients")
	d.admission.warn(d.addrs())
}

// attend keeps the service manager informed and reloads when told to, until ctx ends. If the server or
// the cluster node ends by itself, that is an error.
func (d *daemon) attend(ctx context.Context, served <-chan error) error {
	status := fmt.Sprintf("listening on %s", d.ln.Addr())
	d.manager.ready(status)
	endWatchdog := d.manager.watchdog(d.answers)
	defer endWatchdog()
	var failed <-chan struct{}
	if d.shared != nil && d.shared.node != nil {
		failed = d.shared.node.Failed()
	}
	for {
		select {
		case <-d.config.Reload:
			d.manager.reloading()
			var nodes func() error
			if d.shared != nil && d.shared.certificates != nil {
				nodes = d.shared.certificates.Reload
			}
			d.admission.reload(d.srv, d.addrs(), nodes)
			if d.site != nil {
				d.site.handler.Reauthorize()
			}
			d.manager.ready(status)
		case err := <-served:
			return err
		case <-failed:
			return fmt.Errorf("node %s: %w", d.config.Cluster.Node, d.shared.node.Err())
		case <-ctx.Done():
			return nil
		}
	}
}

// stop ends the server, and then the log.
func (d *daemon) stop() error {
	refuse := time.AfterFunc(commitTime, d.refuse)
	defer refuse.Stop()
	d.manager.stopping()
	if d.exporter != nil {
		d.exporter.Stopping()
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	waitForHTTP := func() {}
	if d.site != nil {
		waitForHTTP = d.site.stop(ctx)
	}
	if err := d.srv.Shutdown(ctx); err != nil {
		d.logger.Warn().Str("event", "stopping").Msg("connections were cut off before they had received all their replies")
	}
	waitForHTTP()
	if d.follower != nil {
		d.follower.stop()
	}
	if d.keeper != nil {
		d.keeper.Stop(ctx)
	}
	return errors.Join(d.closeLog(ctx), d.closeArchived())
}

// answers checks that the log answers: that its newest entry can be read completely. A log that refuses
// appends still answers, and so does one whose newest entry is damaged: a restart would repair neither. A
// log in a cluster is not checked: a restart does not bring a majority back.
func (d *daemon) answers(ctx context.Context) error {
	if d.shared != nil {
		return nil
	}
	head, err := d.log.Head(ctx)
	if err != nil {
		return err
	}
	return d.log.Read(ctx, head, head, func(uint64, int, []byte, int64, error) error { return nil })
}
