package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/archive"
	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/replica"
	"tcp-log-server/segment"
)

// Source is the server of which a daemon is a read replica.
type Source struct {
	// Addr is the address of that server, host:port, or the addresses of several servers of one cluster,
	// separated by commas.
	Addr string
	// Connect says how to connect to it: TLS, and a token with the right both.
	Connect client.Options
	// Name is what the source calls this replica. Each replica of a source needs its own.
	Name string
	// From is the URL of an archive of the same log, or empty. If Data has no log yet, the replica begins
	// with what the archive has, so that the source only has to send the rest.
	From string
}

// ReplicaStatus is the state of a replica in a Stat.
type ReplicaStatus = replica.Status

// follower is the part of a daemon that makes it a replica.
type follower struct {
	*replica.Replica
	cancel    context.CancelFunc
	following sync.WaitGroup
}

// validateReplica checks the settings of a replica.
func (c *Config) validateReplica() error {
	switch {
	case c.Source == nil:
	case c.Source.Addr == "":
		return ConfigError("the source is empty, want the address of the server to follow, host:port")
	case c.Data == engine.Memory:
		return ConfigError("a replica cannot keep its log in memory: set data to a directory")
	case len(c.Source.Name) > maxReplicaName:
		return ConfigError(fmt.Sprintf("name has %d bytes, want %d at most", len(c.Source.Name), maxReplicaName))
	case c.Source.From != "" && !bucket.IsURL(c.Source.From):
		return ConfigError(fmt.Sprintf("from is %q, want the URL of an archive: s3://bucket/prefix or file:///path", c.Source.From))
	case c.Source.From != "" && c.WAL != "":
		return ConfigError("from: what an archive has goes into data, the index too: leave wal out")
	}
	return nil
}

// maxReplicaName is the longest replica name that a source accepts, in bytes.
const maxReplicaName = 255

// replicaConfig returns the configuration for package replica.
func (d *daemon) replicaConfig() replica.Config {
	r := d.config.Source
	return replica.Config{Source: r.Addr, Connect: r.Connect, Name: r.Name, Self: d.ln.Addr(), Logger: d.logger}
}

// prepareReplica sets config up for a replica. If this directory has not been one before, it waits for
// the source to say which log to copy, or for ctx to end: a log that is marked as a replica's can no
// longer be a server's, and the address may be wrong.
func (d *daemon) prepareReplica(ctx context.Context, config *engine.Config) error {
	source := d.config.Source.Addr
	config.ReplicaOf = source
	own, marked, err := segment.FindMark(d.config.dirs().WAL)
	if err != nil {
		return err
	}
	switch before, err := segment.ReadReplica(d.config.Data); {
	case err != nil:
		return err
	case before.Source != "", d.config.hasLog() && !marked:
		return nil
	}
	id, err := d.awaitStore(ctx)
	if err != nil {
		return err
	}
	if marked && id != own {
		return fmt.Errorf("%s has another log than %s: its store is %s, this one is %s; correct the address, or name a new directory for the replica", source, d.config.Data, id, own)
	}
	config.Store = id // for a log yet to be made
	return d.beginFromArchive(ctx, id)
}

// awaitStore waits until the source has said which log it has.
func (d *daemon) awaitStore(ctx context.Context) (id segment.StoreID, err error) {
	source, waiting := d.config.Source.Addr, ""
	store, err := replica.AwaitStore(ctx, d.replicaConfig(), func(err error) {
		text := fmt.Sprintf("waiting for %s to say which log this is to be a replica of: %v", source, err)
		d.waitFor(text)
		if text != waiting {
			waiting = text
			d.logger.Warn().Err(err).Str("event", "waiting").Str("source", source).
				Msg("waiting for the source to say which log this is to be a replica of")
		}
	})
	if err != nil {
		return id, err
	}
	id, ok := segment.ParseStoreID(store)
	if !ok {
		err = fmt.Errorf("%s says that its log is %q, want 32 hexadecimal digits", source, store)
	}
	return id, err
}

// waitFor makes systemd and /readyz show what the daemon waits for before it can be ready.
func (d *daemon) waitFor(what string) {
	d.waits.Store(&what)
	d.manager.waiting(what)
	if d.exporter != nil {
		d.exporter.Waiting(what)
	}
}

// waitsFor returns what the daemon waits for before it can be ready.
func (d *daemon) waitsFor() string {
	if what := d.waits.Load(); what != nil {
		return *what
	}
	return "opening the log"
}

// beginFromArchive restores the log of a new replica from the archive, if one is configured.
func (d *daemon) beginFromArchive(ctx context.Context, id segment.StoreID) error {
	url := d.config.Source.From
	if url == "" || d.config.hasLog() && !archive.Unfinished(d.config.Data) {
		return nil
	}
	d.logger.Info().Str("event", "restoring").Str("from", url).Msg("restoring what the archive has")
	b, err := bucket.Open(ctx, url, bucket.Options{})
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	var shown time.Time
	got, err := archive.Restore(ctx, b, archive.RestoreConfig{Dir: d.config.Data, Store: id, Progress: func(done, total int64) {
		if now := time.Now(); now.Sub(shown) >= time.Second {
			shown = now
			d.waitFor(fmt.Sprintf("restoring what %s has: %d of %d MiB", url, done>>20, total>>20))
		}
	}})
	if errors.Is(err, archive.ErrNothing) {
		return nil // the source has everything
	}
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	d.logger.Info().Str("event", "restored").Uint64("head", got.Head).Stringer("took", got.Took.Round(time.Millisecond)).
		Msg("restored what the archive has; the rest comes from the source")
	return nil
}

// dirs returns the directories of the log's parts.
func (c *Config) dirs() segment.Dirs {
	return segment.Dirs{Data: c.Data, WAL: c.WAL, Blobs: c.Blobs}.WithDefaults()
}

// hasLog reports whether the directories already hold part of a log.
func (c *Config) hasLog() bool {
	dirs := c.dirs()
	for _, dir := range []string{dirs.Segments(), dirs.WAL} {
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			return true
		}
	}
	return false
}

// follow starts following the source.
func (d *daemon) follow() {
	config := d.replicaConfig()
	config.Log = d.log
	f := &follower{Replica: replica.New(config)}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.following.Go(func() { f.Run(ctx) })
	d.follower = f
}

// stop stops following, and waits for entries that are being stored.
func (f *follower) stop() {
	f.cancel()
	f.following.Wait()
}

// replicaLog is the log of a replica as its server sees it: it can be read, and appends are refused with
// the address to append to.
type replicaLog struct {
	*engine.Log
	refusal error
}

func newReplicaLog(log *engine.Log, source string) *replicaLog {
	return &replicaLog{log, fmt.Errorf("%w: this is a replica of %s: append there", engine.ErrNotStored, source)}
}

// Append and Submit implement server.Log.
func (l *replicaLog) Append(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Log.Append(entries, count, on, l.refuse(done))
}

func (l *replicaLog) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Log.Submit(entries, count, on, l.refuse(done))
}

// refuse makes done say where to append.
func (l *replicaLog) refuse(done func(appends.Result, error)) func(appends.Result, error) {
	return func(result appends.Result, err error) {
		if _, unmet := errors.AsType[*appends.ConditionError](err); unmet || errors.Is(err, engine.ErrReplica) {
			err = l.refusal
		}
		done(result, err)
	}
}
