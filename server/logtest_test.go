package server

import (
	"testing"

	"tcp-log-server/server/logtest"
)

// The suite has the same interface.
var (
	_ Log         = logtest.Log(nil)
	_ logtest.Log = Log(nil)
)

// TestFakeLog: the log that most tests here use keeps the contract.
func TestFakeLog(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Harness {
		return logtest.Harness{Log: newFakeLog(), TimesVary: true}
	})
}
