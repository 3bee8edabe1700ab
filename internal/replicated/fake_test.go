package replicated

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// fake is a NATS server without JetStream, whose part the test plays, so it can lose, refuse and damage
// what a real one would not. It has no consumers: gateways fetch new messages.
type fake struct {
	t      *testing.T
	server *natsserver.Server
	conn   *nats.Conn
	lanes  *nats.Subscription

	mu        sync.Mutex
	config    jetstream.StreamConfig
	replicas  []*jetstream.PeerInfo // except the leader
	stored    []stored
	deleted   int // how many messages the leader says were deleted
	published int
	got       int // how many messages were asked for
	silent    bool
	asked     int // how many times any replica was asked; it does not answer if silent
	// publish answers the nth attempt to publish, from 0. nil stores and acknowledges it.
	publish func(n int, msg *nats.Msg)
	// get changes the answer to a get, with the fake locked; "" means that there is no such message.
	get func(seq uint64, leader bool, data []byte) []byte
}

type stored struct {
	subject string
	data    []byte
}

func newFake(t *testing.T) *fake {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true, MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	f := &fake{t: t, server: s, config: streamConfig("log", 1)}
	f.conn = f.connect()
	for subject, answer := range map[string]func(*nats.Msg){
		"$JS.API.STREAM.INFO.log":    f.info,
		"$JS.API.DIRECT.GET.log":     f.direct,
		"$JS.API.STREAM.MSG.GET.log": f.byLeader,
	} {
		if _, err := f.conn.Subscribe(subject, answer); err != nil {
			t.Fatal(err)
		}
	}
	f.lead(true)
	return f
}

func (f *fake) connect() *nats.Conn {
	f.t.Helper()
	nc, err := nats.Connect("", append(Options(), nats.InProcessServer(f.server))...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	return nc
}

// lead makes the stream have a leader, or none.
func (f *fake) lead(on bool) {
	f.t.Helper()
	if !on {
		f.lanes.Unsubscribe()
	} else {
		var err error
		if f.lanes, err = f.conn.Subscribe(lanes("log"), f.hear); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.conn.Flush(); err != nil {
		f.t.Fatal(err)
	}
}

// gateway opens the log. Appends wait for giveUp, and each attempt for a quarter of that.
func (f *fake) gateway(giveUp time.Duration, change ...func(*Config)) *Log {
	f.t.Helper()
	config := Config{Conn: f.connect(), Stream: "log", Replicas: 1, Head: HeadLeader, GiveUp: giveUp, Logger: zerolog.Nop(), attempt: giveUp / 4}
	for _, c := range change {
		c(&config)
	}
	return open(f.t, config)
}

func (f *fake) hear(msg *nats.Msg) {
	f.mu.Lock()
	publish, n := f.publish, f.published
	f.published++
	f.mu.Unlock()
	if publish == nil {
		f.acknowledge(msg, f.store(msg))
		return
	}
	publish(n, msg)
}

// store stores a message as JetStream does: once, if it names the last one of its lane. It returns its
// number, or 0 if it is not stored.
func (f *fake) store(msg *nats.Msg) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if msg.Header.Get(jetstream.ExpectedStreamHeader) != "log" {
		f.t.Errorf("a message expects stream %q", msg.Header.Get(jetstream.ExpectedStreamHeader))
	}
	if want := msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader); want != "" && want != strconv.FormatUint(f.last(msg.Subject), 10) {
		return 0
	}
	f.stored = append(f.stored, stored{msg.Subject, bytes.Clone(msg.Data)})
	return uint64(len(f.stored))
}

// last returns the last message of a lane, 0 if there is none. The fake is locked.
func (f *fake) last(subject string) uint64 {
	for i, s := range slices.Backward(f.stored) {
		if s.subject == subject {
			return uint64(i + 1)
		}
	}
	return 0
}

// acknowledge says that a message is stored, or refuses it if seq is 0.
func (f *fake) acknowledge(msg *nats.Msg, seq uint64) {
	if seq == 0 {
		f.refuse(msg, 10071)
		return
	}
	f.answer(msg, fmt.Sprintf(`{"stream":"log","seq":%d}`, seq))
}

func (f *fake) refuse(msg *nats.Msg, code int) {
	f.answer(msg, fmt.Sprintf(`{"stream":"log","seq":0,"error":{"code":400,"err_code":%d,"description":"refused"}}`, code))
}

func (f *fake) answer(msg *nats.Msg, with string) {
	f.answered(msg.Respond([]byte(with)))
}

// answered fails the test if an answer could not be sent, unless the test has ended.
func (f *fake) answered(err error) {
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		f.t.Error(err)
	}
}

func (f *fake) info(msg *nats.Msg) {
	f.mu.Lock()
	info := jetstream.StreamInfo{Config: f.config, Created: time.Now()}
	if n := uint64(len(f.stored)); n > 0 {
		info.State = jetstream.StreamState{Msgs: n, FirstSeq: 1, LastSeq: n, Bytes: 1000 * n, NumDeleted: f.deleted}
	}
	if f.replicas != nil {
		info.Cluster = &jetstream.ClusterInfo{Leader: "a", Replicas: f.replicas}
	}
	f.mu.Unlock()
	b, err := json.Marshal(info)
	if err != nil {
		f.t.Error(err)
	}
	f.answer(msg, string(b))
}

// one returns the message that a request asks for, and its number, or 0 if there is none.
func (f *fake) one(r getRequest, leader bool) (seq uint64, s stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got++
	if seq = r.Seq; r.LastFor != "" {
		seq = f.last(r.LastFor)
	}
	if seq == 0 || seq > uint64(len(f.stored)) {
		return 0, s
	}
	s = f.stored[seq-1]
	if f.get != nil {
		if s.data = f.get(seq, leader, s.data); len(s.data) == 0 {
			return 0, s
		}
	}
	return seq, s
}

func (f *fake) direct(msg *nats.Msg) {
	f.mu.Lock()
	f.asked++
	silent := f.silent
	f.mu.Unlock()
	if silent {
		return
	}
	var r getRequest
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		f.t.Error(err)
	}
	sent := 0
	for range max(r.Batch, 1) {
		if r.Batch > 0 && sent >= r.MaxBytes {
			f.answered(msg.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"204"}}}))
			return
		}
		seq, s := f.one(r, false)
		sent += len(s.data)
		answer := &nats.Msg{Data: s.data, Header: nats.Header{}}
		if seq == 0 {
			answer.Header.Set("Status", "404")
		} else {
			answer.Header.Set("Nats-Sequence", strconv.FormatUint(seq, 10))
		}
		f.answered(msg.RespondMsg(answer))
		r.Seq++
	}
}

func (f *fake) byLeader(msg *nats.Msg) {
	var r getRequest
	if err := json.Unmarshal(msg.Data, &r); err != nil {
		f.t.Error(err)
	}
	seq, s := f.one(r, true)
	if seq == 0 {
		f.answer(msg, `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`)
		return
	}
	b, _ := json.Marshal(map[string]any{"message": map[string]any{"seq": seq, "subject": s.subject, "data": s.data}})
	f.answer(msg, string(b))
}

// put stores a message of another gateway with these entries.
func (f *fake) put(m message, entries ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.lane, m.number = 1, uint64(len(f.stored)+1)
	for _, e := range entries {
		m.body = append(m.body, e+"\n"...)
		m.count++
	}
	f.stored = append(f.stored, stored{"log.lane.0000000000000001", m.encode()})
}

// entries returns the stream's entries, by a walk from its beginning. The places that its messages name
// must be those of the walk.
func (f *fake) entries() (all []string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &walker{most: windowBytes}
	places := []place{w.at}
	for i, s := range f.stored {
		m, err := decode(s.data, uint64(i+1))
		if err != nil {
			f.t.Fatal(err)
		}
		if at := places[m.hint.seq]; m.hint != at {
			f.t.Errorf("message %d points to the place %+v, which is %+v", i+1, m.hint, at)
		}
		v, err := w.step(context.Background(), &m)
		if err != nil {
			f.t.Fatal(err)
		}
		places = append(places, w.at)
		for _, e := range entriesOf(v.entries) {
			all = append(all, strings.TrimSuffix(e, "\n"))
		}
	}
	return all
}
