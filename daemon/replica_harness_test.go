package daemon

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// sourceConfig returns the configuration of a server with a log in its own directory.
func sourceConfig(t *testing.T) Config {
	config := NewConfig(filepath.Join(t.TempDir(), "source"))
	config.Port = 0
	return config
}

// copyConfig returns the configuration of a replica of the server at addr.
func copyConfig(t *testing.T, addr string) Config {
	config := NewConfig(filepath.Join(t.TempDir(), "copy"))
	config.Port = 0
	config.Source = &Source{Addr: addr, Name: t.Name(), Connect: client.Options{MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond}}
	return config
}

// at sets the port of a configuration to that of addr, so that a daemon can be restarted.
func (c *Config) at(addr string) {
	_, port, _ := net.SplitHostPort(addr)
	fmt.Sscan(port, &c.Port)
}

// dialed returns a client of a daemon.
func dialed(t *testing.T, addr string, options client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), addr, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// fillSome appends n entries, a few at a time.
func fillSome(t *testing.T, c *client.Client, n int) {
	t.Helper()
	for n > 0 {
		var entries [][]byte
		for range min(n, 7) {
			entries = append(entries, fmt.Appendf(nil, `{"n":%d,"at":%d}`, n, time.Now().UnixNano()))
			n--
		}
		if _, err := c.AppendAll(t.Context(), entries...); err != nil {
			t.Fatal(err)
		}
	}
}

// statAt asks a daemon for its status.
func statAt(t *testing.T, addr string, options client.Options) (s Stat) {
	t.Helper()
	c, err := client.Dial(t.Context(), addr, options)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := c.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// logText returns a whole log, with times and hashes.
func logText(t *testing.T, addr string, options client.Options) string {
	t.Helper()
	var b strings.Builder
	for e, err := range dialed(t, addr, options).Read(t.Context(), 1, 0, client.WithTime(), client.WithHash()) {
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		fmt.Fprintln(&b, e.Index, e.Time.UnixMicro(), e.Hash, string(e.Value))
	}
	return b.String()
}

// sameLogs waits until the replica has what the source has, and compares them.
func sameLogs(t *testing.T, source, copied string, options client.Options) {
	t.Helper()
	head := statAt(t, source, options).Head
	eventually(t, fmt.Sprintf("the replica to have %d entries: %+v", head, statAt(t, copied, client.Options{}).Replica), func() bool {
		r := statAt(t, copied, client.Options{}).Replica
		return r != nil && r.Connected && r.Behind == 0 && r.Verified >= head
	})
	if want, got := logText(t, source, options), logText(t, copied, client.Options{}); got != want {
		t.Errorf("the source has\n%.2000s\nand the replica\n%.2000s", want, got)
	}
}
