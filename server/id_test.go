package server

import (
	"fmt"
	"strings"
	"testing"
)

// TestLongID: an id of the greatest length comes back, a longer one is refused in its
// turn without being repeated.
func TestLongID(t *testing.T) {
	noLeaks(t)
	c := start(t, openMemory(t), Config{}).dial()
	longest := strings.Repeat("i", maxID-2)
	refused := func(length int) string {
		return fmt.Sprintf(`{"error":"invalid message: \"id\" is %d bytes long, over the limit of 65536; it begins \"%s"}`, length, longest[:39])
	}
	const over = 15_000_000
	for _, form := range []string{`{"id":"%s","entry":[1]}`, `{"entry":[1],"id":"%s"}`} {
		c := start(t, openMemory(t), Config{}).dial()
		go c.send(`{"id":"a","entry":[]}`, fmt.Sprintf(form, longest), fmt.Sprintf(form, longest+"i"), fmt.Sprintf(form, strings.Repeat("i", over)), `{"id":"b","entry":[]}`)
		c.want(`{"id":"a","index":1}`, `{"id":"`+longest+`","index":2}`, refused(maxID+1), refused(over+2), `{"id":"b","index":3}`)
	}
	// Nor is it repeated where the line is too long itself.
	go c.send(`{"id":"`+strings.Repeat("i", over)+`","entry":["`+strings.Repeat("x", over)+`"]}`, `{"id":"b","entry":[]}`)
	c.want(`{"error":"not stored: the line is over the limit of 16842752 bytes"}`, `{"id":"b","index":1}`)
}
