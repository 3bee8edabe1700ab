package replicated

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Metadata of a stream about the log that it holds.
const (
	metaFormat = "tcp-log-server"        // the version of its messages' format
	metaStore  = "tcp-log-server-store"  // the log's random name
	metaMade   = "tcp-log-server-made"   // random: unique to the cluster, even if it began with a copy of another's log
	metaEpochs = "tcp-log-server-epochs" // of the log, if it was seeded with another
	metaSeed   = "tcp-log-server-seed"   // the number of entries of its seed
	format     = "1"
)

// ErrStream: the stream cannot hold a log. The text names the stream's setting, its value, and the value
// that was wanted.
var ErrStream = errors.New("the stream cannot hold a log")

// lanes returns the subject of all lanes of a stream.
func lanes(stream string) string { return stream + ".lane.*" }

// streamConfig returns the configuration for a new stream. Nothing in it is ever removed.
func streamConfig(name string, replicas int) jetstream.StreamConfig {
	id := make([]byte, 16)
	rand.Read(id)
	return jetstream.StreamConfig{
		Name: name, Description: "an append-only log of tcp-log-server", Subjects: []string{lanes(name)},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxConsumers: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1,
		Replicas: replicas, Duplicates: time.Second, // lanes detect duplicates instead
		DenyDelete: true, DenyPurge: true, AllowDirect: true,
		Metadata: map[string]string{metaFormat: format, metaStore: hex.EncodeToString(id), metaMade: rand.Text()},
	}
}

// checkStream returns an error that wraps ErrStream if a stream with this configuration could lose
// entries, or holds something else. The settings that it ignores cannot lose any; TestCheckStream says
// why.
func checkStream(c *jetstream.StreamConfig, replicas int) error {
	bad := func(setting string, found, want any) error {
		return fmt.Errorf("%w: %s of stream %s is %v, want %v", ErrStream, setting, c.Name, found, want)
	}
	if v := c.Metadata[metaFormat]; v != format {
		if v == "" {
			return fmt.Errorf("%w: stream %s has messages of another program: name another stream", ErrStream, c.Name)
		}
		return fmt.Errorf("%w: stream %s has format %s, and this version knows %s: install a later version", ErrStream, c.Name, v, format)
	}
	unlimited := func(n int64) bool { return n <= 0 }
	switch {
	case len(c.Subjects) != 1 || c.Subjects[0] != lanes(c.Name):
		return bad("subjects", c.Subjects, []string{lanes(c.Name)})
	case c.Retention != jetstream.LimitsPolicy:
		return bad("retention", c.Retention, jetstream.LimitsPolicy)
	case c.Storage != jetstream.FileStorage:
		return bad("storage", c.Storage, jetstream.FileStorage)
	case c.Discard != jetstream.DiscardNew:
		return bad("discard", c.Discard, jetstream.DiscardNew)
	case !unlimited(c.MaxMsgs):
		return bad("max_msgs", c.MaxMsgs, -1)
	case !unlimited(c.MaxBytes):
		return bad("max_bytes", c.MaxBytes, -1)
	case !unlimited(c.MaxMsgsPerSubject):
		return bad("max_msgs_per_subject", c.MaxMsgsPerSubject, -1)
	case c.MaxMsgSize > 0:
		return bad("max_msg_size", c.MaxMsgSize, -1)
	case c.MaxAge != 0:
		return bad("max_age", c.MaxAge, 0)
	case !c.DenyDelete:
		return bad("deny_delete", c.DenyDelete, true)
	case !c.DenyPurge:
		return bad("deny_purge", c.DenyPurge, true)
	case c.AllowRollup:
		return bad("allow_rollup_hdrs", c.AllowRollup, false)
	case c.AllowMsgTTL:
		return bad("allow_msg_ttl", c.AllowMsgTTL, false)
	case c.NoAck:
		return bad("no_ack", c.NoAck, false)
	case c.PersistMode != jetstream.DefaultPersistMode:
		return bad("persist_mode", c.PersistMode, jetstream.DefaultPersistMode)
	case c.FirstSeq > 1:
		return bad("first_seq", c.FirstSeq, 1)
	case c.AllowMsgCounter:
		return bad("allow_msg_counter", c.AllowMsgCounter, false)
	case c.AllowMsgSchedules:
		return bad("allow_msg_schedules", c.AllowMsgSchedules, false)
	case c.SubjectDeleteMarkerTTL != 0:
		return bad("subject_delete_marker_ttl", c.SubjectDeleteMarkerTTL, 0)
	case c.Sealed:
		return bad("sealed", c.Sealed, false)
	case c.Mirror != nil || len(c.Sources) > 0:
		return bad("mirror or sources", "set", "none")
	case c.SubjectTransform != nil || c.RePublish != nil:
		return bad("subject_transform or republish", "set", "none")
	case !c.AllowDirect:
		return bad("allow_direct", c.AllowDirect, true)
	case c.Replicas < replicas:
		return bad("num_replicas", c.Replicas, replicas)
	}
	return nil
}

// openStream finds the stream and sets l.stream, or creates it if config allows that. It tries until ctx
// is done: a newly started cluster has no leader yet.
func (l *Log) openStream(ctx context.Context) (*jetstream.StreamInfo, error) {
	for {
		info, err := l.tryStream(ctx)
		if err == nil || errors.Is(err, ErrStream) || errors.Is(err, ErrSeed) {
			return info, err
		}
		l.log.Debug().Err(err).Str("event", "cluster").Msg("the stream is not there yet")
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stream %s: %w: %w", l.config.Stream, err, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l *Log) tryStream(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.config.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) && l.config.Store != "" {
		return nil, fmt.Errorf("%w: stream %s is gone, which had log %s: see docs/CLUSTER.md, \"A lost majority\"", ErrStream, l.config.Stream, l.config.Store)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) && l.config.Create {
		config := streamConfig(l.config.Stream, l.config.Replicas)
		if l.created != nil {
			if err := l.created(&config); err != nil {
				return nil, err
			}
		}
		stream, err = l.js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another gateway was first
			stream, err = l.js.Stream(ctx, l.config.Stream)
		}
	}
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if err := l.fit(info); err != nil {
		return nil, err
	}
	l.stream = stream
	return info, nil
}

// fit returns an error that wraps ErrStream if the stream cannot hold the log.
func (l *Log) fit(info *jetstream.StreamInfo) error {
	if err := checkStream(&info.Config, min(l.config.Replicas, 3)); err != nil {
		return err
	}
	store := info.Config.Metadata[metaStore]
	switch state := info.State; {
	case l.config.Store != "" && store != l.config.Store:
		return fmt.Errorf("%w: stream %s has log %s, want %s: it was deleted and made again, or is another cluster's", ErrStream, info.Config.Name, store, l.config.Store)
	case state.NumDeleted > 0 || state.LastSeq > 0 && state.FirstSeq != 1:
		return fmt.Errorf("%w: messages of stream %s are gone: it has %d, from %d to %d, want all from 1 on",
			ErrStream, info.Config.Name, state.Msgs, state.FirstSeq, state.LastSeq)
	}
	return nil
}
