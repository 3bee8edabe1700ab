package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// modelTime and modelSeed set how long the model test runs, as a duration, and its first
// seed, as a number.
const (
	modelTime = "ENGINE_MODEL_TIME"
	modelSeed = "ENGINE_MODEL_SEED"
)

// TestModel does to a store, at random, everything that can happen to it (appends, reads,
// restarts with other settings, crashes) and compares it with a slice in memory. Each
// round has its own seed, which is logged when the round fails.
func TestModel(t *testing.T) {
	t.Parallel()
	limit := 5 * time.Second
	if testing.Short() {
		limit = time.Second
	}
	if s := os.Getenv(modelTime); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatalf("%s: %v", modelTime, err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(modelSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", modelSeed, err)
		}
	}
	for start := time.Now(); time.Since(start) < limit; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed) }) {
			t.Fatalf("run it again with %s=%d", modelSeed, seed)
		}
	}
}

// model is a log and what must be in it.
type model struct {
	testing.TB
	rnd    *rand.Rand
	config Config
	log    *Log
	// sent are all entries that were given to the log, in order; the first acked of them
	// are acknowledged. pending are the completions not yet waited for.
	sent    []string
	acked   int
	pending []pendingAppend
}

type pendingAppend struct {
	ch    <-chan result
	first int // the index that the first of its entries must get
	count int
}

func runModel(t *testing.T, seed uint64) {
	m := &model{TB: t, rnd: rand.New(rand.NewPCG(seed, 0)), config: testConfig(t)}
	switch m.rnd.IntN(8) {
	case 0:
		m.config.WAL = Memory
	case 1:
		m.config.Blobs = Memory
	}
	m.open()
	defer func() { m.log.Close() }()
	for range 10 + m.rnd.IntN(60) {
		switch n := m.rnd.IntN(100); {
		case n < 60:
			m.append()
		case n < 75:
			m.read()
		case n < 80:
			m.wait()
		case n < 90:
			m.restart()
		default:
			m.crash()
		}
	}
	m.restart()
}

// open opens the log with random settings, and checks its whole content.
func (m *model) open() {
	m.Helper()
	pick := func(of ...int) int { return of[m.rnd.IntN(len(of))] }
	m.config.SegmentSize = int64(1024 + m.rnd.IntN(63<<10))
	m.config.LooseMax = pick(-1, 0, 5, 50, 1000)
	m.config.RemoveAfter = time.Duration(pick(0, 1, 1000, 1000)) * time.Millisecond * 3600
	var err error
	if m.log, err = Open(m.config); err != nil {
		m.Fatalf("open with %+v: %v", m.config, err)
	}
	head, _ := m.log.Head(m.Context())
	if int(head) < m.acked || int(head) > len(m.sent) {
		m.Fatalf("head is %d, %d entries were acknowledged, %d sent", head, m.acked, len(m.sent))
	}
	// Entries that were in flight when the log crashed are there in order, or not at all.
	m.sent, m.acked = m.sent[:head], int(head)
	sameEntries(m, readAll(m, m.log), m.sent)
}

func (m *model) append() {
	for range 1 + m.rnd.IntN(20) {
		count := m.rnd.IntN(5)
		var entries []string
		for range count {
			size := m.rnd.IntN(60)
			if m.rnd.IntN(10) == 0 {
				size = m.rnd.IntN(9000)
			}
			n := len(m.sent)
			if m.rnd.IntN(3) == 0 {
				n = m.rnd.IntN(5) // an equal entry
			}
			entries = append(entries, fmt.Sprintf(`{"n":%d,"x":"%s"}`, n, strings.Repeat("x", size)))
			m.sent = append(m.sent, entries[len(entries)-1])
		}
		m.pending = append(m.pending, pendingAppend{submit(m.log, entries...), len(m.sent) - count + 1, count})
	}
}

// wait waits for some or all of the completions that are due.
func (m *model) wait() {
	m.Helper()
	n := len(m.pending)
	if n > 0 && m.rnd.IntN(2) == 0 {
		n = m.rnd.IntN(n)
	}
	m.take(n)
}

func (m *model) take(n int) {
	m.Helper()
	for _, p := range m.pending[:n] {
		r := <-p.ch
		if r.err != nil || int(r.first) != p.first {
			m.Fatalf("append of %d entries: index %d, %v, want %d", p.count, r.first, r.err, p.first)
		}
		m.acked = max(m.acked, p.first+p.count-1)
	}
	m.pending = m.pending[n:]
}

func (m *model) read() {
	m.Helper()
	if m.acked == 0 {
		return
	}
	from := 1 + m.rnd.IntN(m.acked)
	through := from + m.rnd.IntN(m.acked-from+1)
	sameEntries(m, readRange(m, m.log, uint64(from), uint64(through)), m.sent[from-1:through])
}

func (m *model) restart() {
	m.Helper()
	if err := m.log.Close(); err != nil {
		m.Fatal(err)
	}
	m.take(len(m.pending))
	checkStore(m, m.config)
	m.open()
}

// crash continues with a copy of the directory that was made while the log ran. The index
// is copied first and the segments last, so the copy is one that a crash may leave; a log
// that removes segments meanwhile cannot be copied like this.
func (m *model) crash() {
	m.Helper()
	if m.config.RemoveAfter < time.Minute {
		m.restart()
		return
	}
	if m.rnd.IntN(2) == 0 {
		m.append()
	}
	m.wait()
	config := m.config
	config.Data = filepath.Join(m.TempDir(), "data")
	durable := uint64(0)
	for _, part := range []string{"wal", "blobs", "segments"} {
		durable, _ = m.log.Head(m.Context()) // the last time, before the segments
		m.copyPart(filepath.Join(config.Data, part), filepath.Join(m.config.Data, part))
	}
	acked, sent := m.acked, len(m.sent)
	if err := m.log.Close(); err != nil {
		m.Fatal(err)
	}
	m.take(len(m.pending))
	checkStore(m, m.config)
	m.config, m.acked, m.sent = config, acked, m.sent[:sent]
	m.garble(durable)
	m.open()
}

// copyPart copies a directory that changes meanwhile: removed files are left out.
func (m *model) copyPart(to, from string) {
	m.Helper()
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		dst := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return err
		case e.IsDir():
			return os.MkdirAll(dst, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // a temporary file
		}
		return os.WriteFile(dst, b, 0o600)
	})
	if err != nil {
		m.Fatal(err)
	}
}

// garble does to the last segment what a power cut can: any part of the last batch may be
// missing, unless it is known to be durable, and garbage may follow.
func (m *model) garble(durable uint64) {
	m.Helper()
	dir := filepath.Join(m.config.Data, "segments")
	firsts, err := segment.List(dir)
	if err != nil || len(firsts) == 0 || m.rnd.IntN(3) == 0 {
		return
	}
	path := filepath.Join(dir, segment.Name(firsts[len(firsts)-1]))
	b, err := os.ReadFile(path)
	if err != nil {
		m.Fatal(err)
	}
	end, safe := int64(0), int64(0)
	scan, err := segment.ScanBatches(bytes.NewReader(b), path, int64(len(b)), func(off int64, h segment.BatchHeader, body []byte) error {
		end = off + segment.BatchHeaderSize + int64(len(body))
		if safe = off; h.Last() <= durable {
			safe = end
		}
		return nil
	})
	if err != nil || len(scan.Rows) == 0 {
		return
	}
	b = b[:end]
	switch n := int(end - safe); {
	case n == 0:
	case m.rnd.IntN(2) == 0:
		b = b[:int(safe)+m.rnd.IntN(n)]
	default:
		// A sector of each batch that is not durable is missing.
		const sector = 512
		for at := int(safe); at < int(end); at += sector - at%sector {
			if m.rnd.IntN(2) == 0 || at == int(safe) {
				clear(b[at:min(int(end), at+sector-at%sector)])
			}
		}
	}
	b = append(b, make([]byte, m.rnd.IntN(9000))...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		m.Fatal(err)
	}
}
