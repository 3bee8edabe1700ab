package fsck

import (
	"os"
	"testing"

	"tcp-log-server/engine"
)

// TestNumbersOfEarlierVersions: earlier versions stored numbers that a double does not
// hold as they were written. Such entries are no finding, in a blob or in a segment that
// has no index records yet; others that are not canonical are.
func TestNumbersOfEarlierVersions(t *testing.T) {
	for _, test := range []struct {
		entry string
		found bool
	}{
		{`{"n":1E400}`, false},
		{`[10e-401,9007199254740993.0,9007199254740993]`, false},
		{`[10e-401,1.50]`, true},
		{`{"n":1e+2}`, true},
	} {
		for _, s := range []shape{both, packed} {
			dir := t.TempDir()
			c := s.config(dir)
			l, err := engine.Open(c)
			must(t, err)
			done := make(chan error, 1)
			l.Append([]byte(test.entry+"\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
			must(t, <-done)
			await(t, "the entry to settle", func() bool { return l.Stats().Settled == 1 })
			must(t, l.Close())
			if s == packed {
				must(t, os.Truncate(walFile(dir), 0))
			}

			checked := runCheck(t, Options{Data: dir})
			if found := checked.has(NotCanonical); found != test.found || !found && checked.Errors > 0 {
				t.Errorf("%s, %s: found %+v", test.entry, s, checked.findings)
			}
		}
	}
}
