package engine

import (
	"testing"

	"tcp-log-server/server/logtest"
)

// TestLog: a log on disk, and one in memory, keep the contract of package server.
func TestLog(t *testing.T) {
	for name, config := range map[string]func(t *testing.T) Config{
		"disk":   func(t *testing.T) Config { return NewConfig(t.TempDir()) },
		"memory": func(*testing.T) Config { return NewConfig(Memory) },
	} {
		t.Run(name, func(t *testing.T) {
			logtest.Run(t, func(t *testing.T) logtest.Harness {
				config := config(t)
				var open *Log
				opened := func(t testing.TB) logtest.Log {
					log, err := Open(config)
					if err != nil {
						t.Fatal(err)
					}
					open = log
					return log
				}
				closes := func(t testing.TB) {
					if err := open.Close(); err != nil {
						t.Errorf("closing the log: %v", err)
					}
					open = nil
				}
				t.Cleanup(func() {
					if open != nil {
						closes(t)
					}
				})
				h := logtest.Harness{Log: opened(t), Close: closes}
				if name == "disk" {
					h.Reopen = opened
				}
				return h
			})
		})
	}
}
