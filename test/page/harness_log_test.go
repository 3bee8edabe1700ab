package page

import (
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/engine"
)

// batch has entries that are appended together, each in canonical form and followed by a newline.
type batch struct {
	entries []byte
	count   int
}

// made makes a log of batches, one after another, with the given times, and returns its directory.
// It takes no longer than the writing, since the clock is simulated.
func made(t *testing.T, batches iter.Seq2[time.Time, batch]) (data string) {
	t.Helper()
	data = dir(t) + "/data"
	synctest.Test(t, func(t *testing.T) {
		var log *engine.Log
		for at, b := range batches {
			time.Sleep(time.Until(at))
			if log == nil { // not earlier: the log checks its files every second, and the clock begins in the year 2000
				config := engine.NewConfig(data)
				config.LooseMax, config.SettleEvery = 0, time.Hour
				var err error
				if log, err = engine.Open(config); err != nil {
					t.Fatal(err)
				}
				defer log.Close()
			}
			done := make(chan error, 1)
			log.Append(b.entries, b.count, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
	return data
}

// large makes a log of the given millions of entries, spread over the last three hours.
func large(t *testing.T, millions int) (data string) {
	const each = 10_000
	batches := millions * 1_000_000 / each
	now := time.Now().Truncate(time.Second)
	return made(t, func(yield func(time.Time, batch) bool) {
		var b []byte
		for i := range batches {
			b = b[:0]
			for k := range each {
				n := i*each + k + 1
				b = fmt.Appendf(b, "{\"n\":%d,\"path\":\"/items/%d\",\"status\":%d,\"user\":\"user%d\"}\n", n, n%977, 200+n%5, n%100)
			}
			at := now.Add(-3 * time.Hour * time.Duration(batches-i) / time.Duration(batches))
			if !yield(at, batch{append([]byte(nil), b...), each}) {
				return
			}
		}
	})
}
