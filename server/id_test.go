package server

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/server/internal/message"
)

// TestLongID: an id of the greatest length is repeated in the reply; a longer one is
// refused in its turn without being repeated.
func TestLongID(t *testing.T) {
	noLeaks(t)
	unlimited := func() Log { return openEngine(t, engine.NewConfig(engine.Memory)) } // takes lines of that length
	c := start(t, unlimited(), Config{}).dial()
	longest := strings.Repeat("i", message.MaxID-2)
	refused := func(length int) string {
		return fmt.Sprintf(`{"error":"invalid message: \"id\" is %d bytes long, over the limit of 65536; it begins \"%s"}`, length, longest[:39])
	}
	const over = 15_000_000
	for _, form := range []string{`{"id":"%s","entry":[1]}`, `{"entry":[1],"id":"%s"}`} {
		c := start(t, unlimited(), Config{}).dial()
		go c.send(`{"id":"a","entry":[]}`, fmt.Sprintf(form, longest), fmt.Sprintf(form, longest+"i"), fmt.Sprintf(form, strings.Repeat("i", over)), `{"id":"b","entry":[]}`)
		c.want(`{"id":"a","index":1}`, `{"id":"`+longest+`","index":2}`, refused(message.MaxID+1), refused(over+2), `{"id":"b","index":3}`)
	}
	// Nor is it repeated if the line itself is too long.
	go c.send(`{"id":"`+strings.Repeat("i", over)+`","entry":["`+strings.Repeat("x", over)+`"]}`, `{"id":"b","entry":[]}`)
	c.want(`{"error":"not stored: the line is over the limit of 16842752 bytes"}`, `{"id":"b","index":1}`)
}

// idleBytes is how much memory an idle connection may keep, whatever it has sent before,
// counting both of its ends in this process.
const idleBytes = 16 << 10

// TestIdleConnectionsKeepLittle: buffers that have grown are released.
func TestIdleConnectionsKeepLittle(t *testing.T) {
	noLeaks(t)
	id := `"` + strings.Repeat("i", message.MaxID-2) + `"`
	for name, first := range map[string]string{"that follow": `{"from":1e9}`, "that write": ""} {
		t.Run(name, func(t *testing.T) {
			h := start(t, openMemory(t), Config{})
			connect := func(count, from int) {
				for n := range count {
					c := h.dial()
					if first != "" {
						c.send(first)
						c.want(current)
					}
					go c.send(`{"id":` + id + `,"entry":null}`)
					c.want(fmt.Sprintf(`{"id":%s,"index":%d}`, id, from+n))
					c.r = nil // it has grown too
					runtime.GC()
					runtime.GC() // so that the pools give the next one new buffers
				}
			}
			connect(10, 1)
			const count = 100
			before := heap()
			connect(count, 11)
			least := int64(1 << 62)
			for range 5 { // the second collection frees what pools keep
				least = min(least, heap()-before)
			}
			t.Logf("%d bytes a connection", least/count)
			if least/count > idleBytes {
				t.Errorf("%d bytes are kept by an idle connection, want %d at most", least/count, idleBytes)
			}
		})
	}
}
