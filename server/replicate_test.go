package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
)

const (
	thisStore  = "00000000000000000000000000000001"
	otherStore = "00000000000000000000000000000002"
)

// copies makes a Log one that can be replicated.
type copies struct {
	Log
	mu       sync.Mutex
	epochs   []appends.Epoch
	fenced   uint64
	by       string
	fenceErr error
}

func copied(log Log, epochs ...appends.Epoch) *copies {
	return &copies{Log: log, epochs: append([]appends.Epoch{{Number: 1, First: 1}}, epochs...)}
}

func (c *copies) Store() string { return thisStore }

func (c *copies) Epochs() []appends.Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epochs
}

func (c *copies) begin(e appends.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs = append(c.epochs, e)
}

func (c *copies) Fence(epoch uint64, by string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fenceErr == nil {
		c.fenced, c.by = epoch, by
	}
	return c.fenceErr
}

func (c *copies) Digest(ctx context.Context, from, through uint64) (d appends.Digest, err error) {
	d.Entries[0], d.Times[31] = byte(from), byte(through)
	return d, ctx.Err()
}

// received is a batch as a replica receives it.
type received struct {
	Index uint64
	Count int
	Time  time.Time
	Size  int
	Sum   string
	Lost  bool
	body  string
}

// batch receives the next batch, after any number of {"head":N}.
func (c *client) batch() received {
	c.t.Helper()
	line := c.line()
	for strings.HasPrefix(line, `{"head":`) {
		line = c.line()
	}
	var m struct{ Batch *received }
	if err := json.Unmarshal([]byte(line), &m); err != nil || m.Batch == nil {
		c.t.Fatalf("got %s, want a batch", line)
	}
	body := make([]byte, m.Batch.Size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatal(err)
	}
	if sum := fmt.Sprintf("%08x", appends.BatchSum(m.Batch.Index, m.Batch.Count, m.Batch.Time.UnixMicro(), body)); sum != m.Batch.Sum {
		c.t.Fatalf("the sum of %q is %s, want %s", body, m.Batch.Sum, sum)
	}
	m.Batch.body = string(body)
	return *m.Batch
}

// wantBatches receives batches that together are the entries from..through of the log.
func (c *client) wantBatches(log Log, from, through uint64) {
	c.t.Helper()
	var got, want strings.Builder
	for next := from; next <= through; {
		b := c.batch()
		if b.Index != next || strings.Count(b.body, "\n") != b.Count {
			c.t.Fatalf("got %d entries from %d on, with %d newlines, want those from %d", b.Count, b.Index, strings.Count(b.body, "\n"), next)
		}
		next += uint64(b.Count)
		got.WriteString(b.body)
	}
	log.Read(context.Background(), from, through, func(_ uint64, _ int, entries []byte, _ int64, err error) error {
		want.Write(entries)
		return err
	})
	if got.String() != want.String() {
		c.t.Fatalf("got entries\n%.200s\nwant\n%.200s", got.String(), want.String())
	}
}

const replicating = `{"replicating":{"store":"` + thisStore + `","epochs":[[1,1]],"head":%d}}`

// replicate begins a replication stream.
func (c *client) replicate(members string, head int) {
	c.t.Helper()
	c.send(`{"replicate":{` + members + `}}`)
	c.want(fmt.Sprintf(replicating, head))
}

// TestReplicate: a replica receives all existing and new entries, and the server knows how far it is.
func TestReplicate(t *testing.T) {
	noLeaks(t)
	log := copied(newFakeLog())
	fake := log.Log.(*fakeLog)
	fake.run = 2
	fake.put(t, `{"n":1}`, `[2]`, `null`)
	h := start(t, log, Config{})
	c := h.dial()
	c.replicate(`"from":2,"store":"`+thisStore+`","name":"ann"`, 3)
	var summed []byte
	for _, n := range []uint64{2, 2, 1_764_000_002_000_000} {
		summed = binary.LittleEndian.AppendUint64(summed, n)
	}
	sum := fmt.Sprintf("%08x", crc32.Checksum(append(summed, "[2]\nnull\n"...), crc32.MakeTable(crc32.Castagnoli)))
	c.want(
		`{"batch":{"index":2,"count":2,"time":"2025-11-24T16:00:02.000000Z","size":9,"sum":"`+sum+`"}}`,
		"[2]", "null")
	if got := h.Replicas(); len(got) != 1 || got[0].Name != "ann" || got[0].Address != "127.0.0.1" || got[0].Sent != 3 || got[0].Durable != 0 {
		t.Errorf("the replicas are %+v", got)
	}
	c.send(`{"durable":1}`)
	poll(t, "the replica's word", func() bool { return h.Replicas()[0].Durable == 1 })
	fake.put(t, `{"n":4}`)
	c.wantBatches(fake, 4, 4)
	c.send(`{"durable":4}`, `{"durable":4}`)
	poll(t, "the replica's word", func() bool { return h.Replicas()[0].Durable == 4 })
	c.nc.Close()
	poll(t, "the replica to be gone", func() bool { return len(h.Replicas()) == 0 })
}

// TestReplicaRefused: the cases that a source does not serve, or that end a stream. In each the peer
// is told, and the connection ends.
func TestReplicaRefused(t *testing.T) {
	for _, tt := range []struct{ name, send, want string }{
		{"another log", `{"replicate":{"from":1,"store":"` + otherStore + `"}}`,
			`the log of the replica is ` + otherStore + `, and this one is ` + thisStore + `: it is a copy of another log`},
		{"beyond the head", `{"replicate":{"from":5,"epoch":2}}`, `entries 4 to 4 of the replica are not in this log, which ends with 3: it has lost them, or was restored from an older copy`},
		{"entries of an epoch that ended", `{"replicate":{"from":4,"store":"` + thisStore + `"}}`, `entries 3 to 3 of the replica are not in this log: epoch 2 began at 3`},
		{"a later epoch of a log without a name", `{"replicate":{"from":1,"epoch":3}}`, `the replica is in epoch 3 of a log that it does not name, and this one is in epoch 2`},
		{"not the first message", "{\"stat\":true}\n" + `{"replicate":{"from":1}}`, `invalid message: "replicate" is accepted only as the first message, or after a token`},
		{"after a bad message", "{}\n" + `{"replicate":{"from":1}}`, `invalid message: "replicate" is accepted only as the first message, or after a token`},
		{"durable beyond what was sent", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `{"durable":4}`, `"durable" is 4, but entries were sent only through 3`},
		{"durable going back", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `{"durable":3}` + "\n" + `{"durable":2}`, `"durable" is 2, but was 3 before`},
		{"durable that is no number", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `{"durable":"3"}`, `invalid message: "durable" is a string, want a whole number from 0 on`},
		{"a write in a stream", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `{"id":"x","entry":[]}`, `invalid message: this connection is a replication stream, want "durable"`},
		{"a second beginning", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `{"replicate":{"from":4}}`, `invalid message: this connection is a replication stream, want "durable"`},
		{"no JSON", `{"replicate":{"from":4,"epoch":2}}` + "\n" + `durable 3`, `invalid JSON`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			log := copied(newFakeLog(), appends.Epoch{Number: 2, First: 3})
			log.Log.(*fakeLog).put(t, `{"n":1}`, `[2]`, `null`)
			c := start(t, log, Config{}).dial()
			c.send(tt.send)
			last, heads := "", 0
			for {
				line, err := c.r.ReadString('\n')
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if last = strings.TrimSuffix(line, "\n"); strings.HasPrefix(last, `{"head":`) {
					if heads++; heads > 5 {
						t.Fatal("the stream goes on")
					}
				}
			}
			c.nc.Close()
			if want := string(appendFault(nil, nil, tt.want)); last+"\n" != want {
				t.Errorf("the last line is\n%s\nwant\n%s", last, want)
			}
			if log.fenced != 0 || len(log.Log.(*fakeLog).entries) != 3 {
				t.Errorf("the log is fenced by epoch %d and has %d entries", log.fenced, len(log.Log.(*fakeLog).entries))
			}
		})
	}
}

// TestFence: a replica in a later epoch of the same log fences it, and both are told.
func TestFence(t *testing.T) {
	noLeaks(t)
	log := copied(newFakeLog())
	c := start(t, log, Config{}).dial()
	c.send(`{"replicate":{"from":90,"store":"` + thisStore + `","epoch":2,"name":"ann"}}`)
	c.want(`{"error":"this log is fenced: it is in epoch 1, and \"ann\" at 127.0.0.1 in epoch 2 of the same log, so a replica was promoted; this log takes no more appends"}`)
	c.wantEnd()
	if log.fenced != 2 || log.by != `"ann" at 127.0.0.1` {
		t.Errorf("the log is fenced by epoch %d of %s", log.fenced, log.by)
	}
	log.fenceErr = errors.New("cannot write FENCED: no space left on device")
	c = start(t, log, Config{}).dial()
	c.send(`{"replicate":{"from":90,"store":"` + thisStore + `","epoch":3}}`)
	c.want(`{"error":"cannot write FENCED: no space left on device"}`)
	c.wantEnd()
}

// TestReplicaRights: only a token with both rights may replicate; one that may read may ask for
// digests.
func TestReplicaRights(t *testing.T) {
	noLeaks(t)
	log := copied(newFakeLog())
	log.Log.(*fakeLog).put(t, "[1]", "[2]")
	h := start(t, log, Config{Tokens: guests})
	for _, token := range []string{"read", "write"} {
		c := h.dial()
		c.send(`{"token":"`+token+`"}`, `{"replicate":{"from":1}}`)
		c.want(`{"error":"unauthorized: this token may not replicate, which takes the rights to read and to write"}`)
		c.wantEnd()
	}
	c := h.dial()
	c.send(`{"token":"both"}`, `{"replicate":{"from":1}}`)
	c.want(fmt.Sprintf(replicating, 2))
	c.wantBatches(log, 1, 2)

	c = h.dial()
	c.send(`{"token":"read"}`, `{"digest":{"from":1,"through":2}}`, `{"digest":{"from":2,"through":3}}`, `{"durable":1}`)
	c.want(`{"digest":"01`+strings.Repeat("0", 62)+`","times":"`+strings.Repeat("0", 62)+`02","from":1,"through":2}`,
		`{"error":"digest of 2 to 3: the head is 2"}`, `{"error":"invalid message: \"durable\" is accepted only after \"replicate\""}`)
	c = h.dial()
	c.send(`{"token":"write"}`, `{"digest":{"from":1,"through":2}}`)
	c.want(`{"error":"unauthorized: this token may not read"}`)
}

// slowDigests makes the digests of several entries wait.
type slowDigests struct {
	*copies
	begun, release chan struct{}
}

func (l *slowDigests) Digest(ctx context.Context, from, through uint64) (appends.Digest, error) {
	if from < through {
		l.begun <- struct{}{}
		<-l.release
	}
	return l.copies.Digest(ctx, from, through)
}

// TestDigestOfOne: however many long digests are requested, a replica receives that of its last
// entry.
func TestDigestOfOne(t *testing.T) {
	noLeaks(t)
	log := &slowDigests{copied(newFakeLog()), make(chan struct{}, 100), make(chan struct{})}
	log.Log.(*fakeLog).put(t, "[1]", "[2]")
	h := start(t, log, Config{})
	defer close(log.release)
	long := cap(h.digests)
	for range long + 1 {
		h.dial().send(`{"digest":{"from":1,"through":2}}`)
	}
	for range long {
		<-log.begun
	}
	c := h.dial()
	c.send(`{"digest":{"from":2,"through":2}}`)
	c.want(`{"digest":"02` + strings.Repeat("0", 62) + `","times":"` + strings.Repeat("0", 62) + `02","from":2,"through":2}`)
}

// TestNoReplicasOverHTTP: a conversation does not become a stream, which a browser could request.
func TestNoReplicasOverHTTP(t *testing.T) {
	noLeaks(t)
	nc := &script{pieces: []string{`{"replicate":{"from":1}}` + "\n"}}
	err := New(copied(newFakeLog()), Config{}).Converse(nc, Conversation{})
	if want := `{"error":"replicas are served over TCP, not over HTTP"}` + "\n"; err != nil || nc.out.String() != want {
		t.Errorf("got %v and %s, want %s", err, nc.out.String(), want)
	}
}

// TestNewEpoch: a stream ends where a new epoch begins, before its first entry.
func TestNewEpoch(t *testing.T) {
	noLeaks(t)
	log := copied(newFakeLog())
	fake := log.Log.(*fakeLog)
	c := start(t, log, Config{}).dial()
	c.replicate(`"from":1`, 0)
	fake.put(t, "[1]")
	c.wantBatches(log, 1, 1)
	log.begin(appends.Epoch{Number: 2, First: 2})
	fake.put(t, "[2]")
	c.want(`{"error":"a new epoch has begun"}`)
	c.wantEnd()
}

// TestUnreadableForReplica: lost entries are announced as lost, and one that cannot be read ends
// the stream after those before it.
func TestUnreadableForReplica(t *testing.T) {
	noLeaks(t)
	log := copied(newFakeLog())
	fake := log.Log.(*fakeLog)
	fake.unreadable = map[uint64]error{2: lostForTest{}, 4: errors.New("/var/lib/log/segments/0001.seg is damaged")}
	fake.put(t, "[1]", "[2]", "[3]", "[4]", "[5]")
	c := start(t, log, Config{}).dial()
	c.replicate(`"from":1`, 5)
	if b := c.batch(); b.Index != 1 || b.Lost {
		t.Errorf("got %+v, want entry 1", b)
	}
	if b := c.batch(); b.Index != 2 || b.Count != 1 || b.Size != 0 || !b.Lost || b.Time.UnixMicro() != 1_764_000_002_000_000 {
		t.Errorf("got %+v, want that entry 2 is lost", b)
	}
	if b := c.batch(); b.Index != 3 || b.Lost || b.body != "[3]\n" {
		t.Errorf("got %+v, want entry 3", b)
	}
	c.want(`{"index":4,"error":"0001.seg is damaged"}`)
	c.wantEnd()
}

type lostForTest struct{}

func (lostForTest) Error() string { return "lost" }
func (lostForTest) Lost() bool    { return true }

// TestSilentReplica: a replica that does not report its progress is cut off, and is told the head
// meanwhile.
func TestSilentReplica(t *testing.T) {
	noLeaks(t)
	defer func(d time.Duration) { silentMax = d }(silentMax)
	silentMax = 1500 * time.Millisecond
	h := start(t, copied(newFakeLog()), Config{})
	c := h.dial()
	c.replicate(`"from":1`, 0)
	c.want(`{"head":0}`)
	if _, err := io.ReadAll(c.r); err != nil {
		t.Fatal(err)
	}
	poll(t, "the replica to be gone", func() bool { return len(h.Replicas()) == 0 })
}
