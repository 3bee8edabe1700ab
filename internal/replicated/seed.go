package replicated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/appends"
	"tcp-log-server/segment"
)

// A new stream can be seeded with the entries of an existing log. The messages that hold them depend on
// the entries alone: message 1 is the same whoever sends it, and so on. So a message that is sent again,
// however late, is stored in its own place once or not at all; interrupted seeding continues where the
// stream ends; and the stream's messages are verified by comparing them. The stream's metadata says how
// many entries there will be: nobody appends before all are there.

// ErrSeed: the stream cannot be seeded, because it holds something else.
var ErrSeed = errors.New("the cluster cannot be seeded")

// A Seed is the log that a stream is seeded with.
type Seed struct {
	Name   string // of its directory, for errors
	Store  segment.StoreID
	Epochs segment.Epochs // of the log that begins with these entries
	Head   uint64
	// Read passes the entries from..Head to fn in order, each verified, with the time when it was stored,
	// in µs since 1970 UTC. The entry is valid during the call.
	Read func(ctx context.Context, from uint64, fn func(index uint64, entry []byte, time int64) error) error
	// Progress, if not nil, is told the last entry that the stream has.
	Progress func(through uint64)
}

// seedLane is the lane of all seeds. Gateways have random ones.
const seedLane = 0

// SeedStream makes the stream of config hold the entries of a seed, unless it does already. It creates
// the stream if necessary, and calls open if entries have to be sent or compared.
func SeedStream(ctx context.Context, config Config, open func() (Seed, error)) error {
	l, err := newLog(config)
	if err != nil {
		return err
	}
	defer l.cancel()
	var seed Seed
	opened := false
	l.created = func(c *jetstream.StreamConfig) (err error) {
		if !opened {
			if seed, err = open(); err == nil {
				err = l.checkSeed(ctx, &seed)
			}
			if err != nil {
				return fmt.Errorf("%w: %w", ErrSeed, err)
			}
			opened = true
		}
		c.Metadata[metaStore], c.Metadata[metaEpochs] = seed.Store.String(), seed.Epochs.String()
		c.Metadata[metaSeed] = strconv.FormatUint(seed.Head, 10)
		return nil
	}
	info, err := l.openStream(ctx)
	if err != nil {
		return err
	}
	meta := info.Config.Metadata
	if meta[metaSeed] == "" {
		return fmt.Errorf("%w: stream %s has a log already, %s, which was not seeded: seed a new cluster", ErrSeed, config.Stream, meta[metaStore])
	}
	last, seeded, err := l.seeded(ctx, meta)
	if err != nil || seeded {
		return err
	}
	if !opened {
		if seed, err = open(); err != nil {
			return fmt.Errorf("%w: %w", ErrSeed, err)
		}
	}
	if seed.Store.String() != meta[metaStore] || strconv.FormatUint(seed.Head, 10) != meta[metaSeed] {
		return fmt.Errorf("%w: stream %s is being seeded with log %s of %s entries, and %s is log %s of %d entries: name the directory that it was begun with",
			ErrSeed, config.Stream, meta[metaStore], meta[metaSeed], seed.Name, seed.Store, seed.Head)
	}
	return l.sendSeed(ctx, &seed, last)
}

// seeded reports whether the stream with this metadata has all entries of its seed, and returns its last
// message.
func (l *Log) seeded(ctx context.Context, meta map[string]string) (last uint64, ok bool, err error) {
	head, err := strconv.ParseUint(meta[metaSeed], 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %s of stream %s is %q, want a number", ErrStream, metaSeed, l.config.Stream, meta[metaSeed])
	}
	for {
		if last, err = l.leaderLast(ctx); err == nil {
			var m message
			if last > 0 {
				m, err = l.lastRight(ctx, last)
			}
			if err == nil {
				return last, m.hint.index+uint64(m.count) >= head, nil
			}
		}
		if !pause(ctx, 100*time.Millisecond) {
			return 0, false, fmt.Errorf("where stream %s ends: %w: %w", l.config.Stream, err, context.Cause(ctx))
		}
	}
}

// pause waits. It returns false if ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// seeder makes the messages of a seed.
type seeder struct {
	at   place // where the next message goes
	m    message
	most int // bytes of entries in a message
	emit func(seq uint64, m *message) error
}

// add adds an entry.
func (s *seeder) add(index uint64, entry []byte, time int64) error {
	m := &s.m
	size := len(entry) + 1
	if m.count > 0 && (time != m.time || m.count == batchCount || len(m.body)+size > s.most) {
		if err := s.end(); err != nil {
			return err
		}
	}
	if m.count == 0 {
		m.time = time
	}
	m.body = append(append(m.body, entry...), '\n')
	m.count++
	return nil
}

// end ends the current message, if there is one.
func (s *seeder) end() error {
	if s.m.count == 0 {
		return nil
	}
	m := s.m
	m.lane, m.number, m.hint = seedLane, s.at.seq+1, s.at
	s.at = m.after()
	s.m = message{body: make([]byte, 0, cap(m.body))}
	return s.emit(s.at.seq, &m)
}

// messages passes the messages of a seed to fn, in order, starting at a place between two of them.
func (l *Log) messages(ctx context.Context, seed *Seed, from place, fn func(seq uint64, m *message) error) error {
	s := seeder{at: from, most: min(batchBytes, l.MaxAppend()), emit: fn}
	if err := seed.Read(ctx, from.index+1, s.add); err != nil {
		return err
	}
	return s.end()
}

// checkSeed reads the whole seed, and returns an error if a stream cannot hold it.
func (l *Log) checkSeed(ctx context.Context, seed *Seed) error {
	var last int64
	return seed.Read(ctx, 1, func(index uint64, entry []byte, time int64) error {
		switch most := l.MaxAppend(); {
		case len(entry)+1 > most:
			return fmt.Errorf("%s: entry %d has %d bytes, and a message of the cluster holds %d", seed.Name, index, len(entry), most-1)
		case time <= 0:
			return fmt.Errorf("%s: the time of entry %d is not known: run `tcp-log-server fsck --repair %[1]s`", seed.Name, index)
		case time < last:
			return fmt.Errorf("%s: the time of entry %d is earlier than that of the entry before it, which a cluster cannot hold", seed.Name, index)
		}
		last = time
		return nil
	})
}

// sendSeed compares the stream's messages with those of the seed, and sends the missing ones.
func (l *Log) sendSeed(ctx context.Context, seed *Seed, last uint64) error {
	var done place // everything before it is certainly stored
	for {
		w := &seedWindow{log: l, inbox: l.conn.NewRespInbox(), acks: make(chan seedAck, seedAhead), done: done}
		sub, err := l.conn.Subscribe(w.inbox+".*", w.acknowledged)
		if err != nil {
			return err
		}
		err = l.sendOnce(ctx, seed, last, w)
		sub.Unsubscribe()
		done = w.done
		if again := (*seedAgain)(nil); !errors.As(err, &again) {
			return err
		}
		l.log.Warn().Err(err).Str("event", "cluster").Msg("seeding continues once the end of the stream is known")
		// Copies that are still on their way end up in their own places, or nowhere.
		for {
			if !pause(ctx, time.Second) {
				return context.Cause(ctx)
			}
			if last, err = l.leaderLast(ctx); err == nil {
				break
			}
		}
	}
}

// sendOnce is sendSeed until something goes wrong.
func (l *Log) sendOnce(ctx context.Context, seed *Seed, last uint64, w *seedWindow) error {
	var stored []message // fetched for comparison
	err := l.messages(ctx, seed, w.done, func(seq uint64, m *message) error {
		if seed.Progress != nil {
			seed.Progress(w.done.index)
		}
		data := m.encode()
		if seq > last {
			return w.send(ctx, m, data)
		}
		if len(stored) == 0 {
			if stored = l.fetchBatch(ctx, seq, min(last, seq+near-1), 2*fetchBytes, true); len(stored) == 0 {
				one, err := l.fetch(ctx, seq)
				if err != nil {
					return err
				}
				stored = []message{one}
			}
		}
		if stored[0].sum != m.sum {
			return fmt.Errorf("%w: message %d of stream %s, from entry %d on, is not what %s has there: seed a new cluster", ErrSeed, seq, l.config.Stream, m.hint.index+1, seed.Name)
		}
		stored = stored[1:]
		w.done = m.after()
		return nil
	})
	if err == nil {
		err = w.wait(ctx, 0)
	}
	return err
}

// after returns the place after a message of a seed.
func (m *message) after() place {
	at := place{seq: m.hint.seq + 1, index: m.hint.index + uint64(m.count), time: m.time, voids: m.hint.voids}
	at.voids.push(false)
	return at
}

const (
	// seedAhead is how many messages are sent before the first of them is acknowledged.
	seedAhead = 256
	// seedBytes limits the bytes of these, except for a single larger message.
	seedBytes = 8 << 20
)

// seedAgain: it is unknown whether the messages sent were stored.
type seedAgain struct{ err error }

func (e *seedAgain) Error() string { return e.err.Error() }
func (e *seedAgain) Unwrap() error { return e.err }

// seedAck is the answer to a message.
type seedAck struct {
	seq uint64
	err error
}

// seedWindow sends messages, several of them before the first is acknowledged.
type seedWindow struct {
	log   *Log
	inbox string
	acks  chan seedAck
	under []seedSent // sent and not acknowledged, oldest first
	bytes int        // of these
	done  place      // everything before it is certainly stored
}

// seedSent is a message that was sent.
type seedSent struct {
	after place // the place after it
	size  int
}

// send sends a message once there is room.
func (w *seedWindow) send(ctx context.Context, m *message, data []byte) error {
	for len(w.under) >= seedAhead || w.bytes > 0 && w.bytes+len(data) > seedBytes {
		if err := w.wait(ctx, len(w.under)-1); err != nil {
			return err
		}
	}
	seq := m.number
	err := w.log.conn.PublishMsg(&nats.Msg{
		Subject: fmt.Sprintf("%s.lane.%016x", w.log.config.Stream, seedLane),
		Reply:   w.inbox + "." + strconv.FormatUint(seq, 10),
		Data:    data,
		Header: nats.Header{
			jetstream.ExpectedStreamHeader:  {w.log.config.Stream},
			jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(seq-1, 10)},
		},
	})
	if err != nil {
		return &seedAgain{err}
	}
	w.under, w.bytes = append(w.under, seedSent{m.after(), len(data)}), w.bytes+len(data)
	return nil
}

// acknowledged receives the answer to a message.
func (w *seedWindow) acknowledged(msg *nats.Msg) {
	seq, err := strconv.ParseUint(msg.Subject[len(w.inbox)+1:], 10, 64)
	if err != nil {
		return
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err = json.Unmarshal(msg.Data, &ack); {
	case msg.Header.Get("Status") == "503":
		err = nats.ErrNoResponders
	case err == nil && ack.Error != nil:
		err = ack.Error
	case err == nil && ack.Seq != seq:
		err = fmt.Errorf("message %d was stored as message %d", seq, ack.Seq)
	}
	select {
	case w.acks <- seedAck{seq, err}:
	default: // more answers than messages: nobody waits for this one
	}
}

// wait waits until at most left messages are unacknowledged. While all goes well, they are acknowledged
// in order.
func (w *seedWindow) wait(ctx context.Context, left int) error {
	for len(w.under) > left {
		first := &w.under[0]
		select {
		case a := <-w.acks:
			if a.err == nil && a.seq != first.after.seq {
				a.err = fmt.Errorf("message %d was acknowledged before message %d", a.seq, first.after.seq)
			}
			if a.err != nil {
				return &seedAgain{readable(a.err)}
			}
			w.done = first.after
			w.bytes -= first.size
			w.under = w.under[1:]
		case <-time.After(attemptTime):
			return &seedAgain{errors.New("a message is not acknowledged")}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// parseEpochs parses the epochs of a log from its stream's metadata.
func parseEpochs(text string) (segment.Epochs, error) {
	if text == "" {
		return segment.FirstEpoch(), nil
	}
	var pairs [][2]uint64
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		return nil, err
	}
	var e segment.Epochs
	for _, p := range pairs {
		e = append(e, appends.Epoch{Number: p[0], First: p[1]})
	}
	return e, e.Check()
}

// awaitSeeded waits until the log has all entries of its stream's seed.
func (l *Log) awaitSeeded(ctx context.Context, meta map[string]string) error {
	if meta[metaSeed] == "" {
		return nil
	}
	head, err := strconv.ParseUint(meta[metaSeed], 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s of stream %s is %q, want a number", ErrStream, metaSeed, l.config.Stream, meta[metaSeed])
	}
	for known := l.Known(); known < head; known = l.Known() {
		if l.config.Waiting != nil {
			l.config.Waiting(fmt.Sprintf("waiting for another node to seed the log: entry %d of %d", known, head))
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("the log is being seeded, and has %d of %d entries: %w", known, head, context.Cause(ctx))
		}
	}
	return nil
}
