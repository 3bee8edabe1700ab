package replica

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// TestRefused: replication stops, reports why once, and stores nothing. Once the reason is gone, it
// continues by itself.
func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*fakeSource, *fakeLog)
		mend func(*fakeSource, *fakeLog)
		says string
	}{
		"another store": {
			func(s *fakeSource, _ *fakeLog) { s.store = strings.Repeat("f", 32) }, func(s *fakeSource, _ *fakeLog) { s.store = testStore },
			"has another log: its store is ffffffffffffffffffffffffffffffff, this is a replica of " + testStore},
		"the source says so": {
			func(s *fakeSource, _ *fakeLog) { s.say = `{"error":"unauthorized"}` }, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"the source says: unauthorized"},
		"no epochs": {
			func(s *fakeSource, _ *fakeLog) {
				s.say = `{"replicating":{"store":"` + testStore + `","epochs":[],"head":20}}`
			}, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"the first epoch is not epoch 1 from entry 1"},
		"epochs that go back": {
			func(s *fakeSource, _ *fakeLog) {
				s.say = `{"replicating":{"store":"` + testStore + `","epochs":[[1,1],[3,30],[2,40]],"head":20}}`
			}, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"epoch 2 from entry 40 follows epoch 3 from entry 30"},
		"the last entry": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].text = `{"n":0}` }, func(_ *fakeSource, l *fakeLog) { l.entries[9].text = `{"n":10}` },
			"entry 10 here is not the entry 10 of"},
		"the time of an entry": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time++ }, func(_ *fakeSource, l *fakeLog) { l.entries[9].time-- },
			"entry 10 here is not the entry 10 of"},
		"all from an entry on": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time++; l.entries[3].time++ },
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time--; l.entries[3].time-- },
			"entry 4 here is not the entry 4 of"},
		"more than the source": {
			func(s *fakeSource, l *fakeLog) { l.add(20) }, func(s *fakeSource, l *fakeLog) { s.add(20) },
			"entries 21 to 30 are not in the log of"},
		"beyond an epoch": {
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 9}) },
			func(_ *fakeSource, l *fakeLog) { l.entries = l.entries[:8] },
			"entries 9 to 10 are not in the log of 127.0.0.1"},
		"beyond an epoch by one entry": {
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 10}) },
			func(_ *fakeSource, l *fakeLog) { l.entries = l.entries[:9] },
			"entries 10 to 10 are not in the log of 127.0.0.1"},
		"an older source": {
			func(_ *fakeSource, l *fakeLog) { l.epochs = append(l.epochs, appends.Epoch{Number: 2, First: 5}) },
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 5}) },
			"this log is in epoch 2, "},
		"another epoch": {
			func(s *fakeSource, l *fakeLog) {
				l.epochs = append(l.epochs, appends.Epoch{Number: 2, First: 5})
				s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 7})
			}, nil,
			"the logs differ from entry 5 on: here epoch 2 begins with entry 5"},
		"a damaged entry": {
			func(s *fakeSource, _ *fakeLog) {
				s.spoil = func([]byte) []byte { return []byte(`{"index":12,"error":"blob 1234 is damaged"}` + "\n") }
			},
			func(s *fakeSource, _ *fakeLog) { s.spoil = nil },
			"the source cannot read its entry 12: blob 1234 is damaged"},
		"the replica's disk has failed": {
			func(_ *fakeSource, l *fakeLog) { l.fails = fmt.Errorf("%w: %w", engine.ErrNotStored, engine.ErrFailed) },
			func(_ *fakeSource, l *fakeLog) { l.fails = nil },
			"the replica's own log: not stored: log has failed"},
	} {
		t.Run(name, func(t *testing.T) {
			source := serve(t, newFakeLog(20))
			copied := newFakeLog(10)
			tt.set(source, copied)
			before := copied.text()
			var log logged
			r := follow(t, source.addr, copied, func(c *Config) { c.Logger = zerolog.New(&log) })
			awaitStopped(t, r, tt.says)
			if got := copied.text(); got != before {
				t.Errorf("the replica has %s, want what it had", got)
			}
			await(t, "more tries", func() bool {
				source.mu2.Lock()
				defer source.mu2.Unlock()
				return len(source.asked) > 3
			})
			if n := strings.Count(log.String(), `"level":"error"`); n != 1 {
				t.Errorf("there are %d errors in the log, want 1: %s", n, log.String())
			}
			if tt.mend == nil {
				return
			}
			source.fakeLog.mu.Lock()
			if name == "more than the source" {
				source.fakeLog.mu.Unlock()
				tt.mend(source, copied)
			} else {
				source.mu2.Lock()
				copied.mu.Lock()
				tt.mend(source, copied)
				copied.mu.Unlock()
				source.mu2.Unlock()
				source.fakeLog.mu.Unlock()
			}
			awaitCopy(t, r, source.fakeLog, copied)
		})
	}
}

// TestEpochs: an epoch is recorded once everything before it is durable, and before its first entry
// is.
func TestEpochs(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.epochs = append(source.epochs, appends.Epoch{Number: 2, First: 6}, appends.Epoch{Number: 3, First: 6}, appends.Epoch{Number: 7, First: 21})
	copied := newFakeLog(0)
	r := follow(t, source.addr, copied, nil)
	awaitCopy(t, r, source.fakeLog, copied)
	if got, want := fmt.Sprint(copied.Epochs()), "[{1 1} {2 6} {3 6}]"; got != want {
		t.Errorf("the replica has the epochs %s, want %s", got, want)
	}
	if copied.heard != 7 {
		t.Errorf("the replica knows that its source is in epoch %d, want 7: a promotion would begin one that the source has", copied.heard)
	}
	source.add(1)
	awaitCopy(t, r, source.fakeLog, copied)
	if got, want := fmt.Sprint(copied.Epochs()), fmt.Sprint(source.Epochs()); got != want {
		t.Errorf("the replica has the epochs %s, want %s", got, want)
	}
}

// TestFenced: a fenced log accepts entries again once the source is in the epoch that fenced it.
func TestFenced(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.epochs = append(source.epochs, appends.Epoch{Number: 2, First: 15})
	for _, had := range []int{14, 10} {
		copied := newFakeLog(had)
		copied.fence = 2
		awaitCopy(t, follow(t, source.addr, copied, nil), source.fakeLog, copied)
		if got, want := fmt.Sprint(copied.Epochs()), "[{1 1} {2 15}]"; got != want {
			t.Errorf("the replica has the epochs %s, want %s", got, want)
		}
	}
}
