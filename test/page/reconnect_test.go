package page

import (
	"fmt"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestReconnect: after the server is killed and restarted, the page continues by itself, and shows
// every entry once.
func TestReconnect(t *testing.T) {
	s := start(t)
	s.append(numbered(1, 300)...)
	p := open(t, s, "/")
	p.expects("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_NETWORK")
	p.sees(300)

	// Appends continue all the time.
	c, err := client.Dial(t.Context(), s.addr, client.Options{MaxBackoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 301; ; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, _, err := c.AppendOnce(t.Context(), []byte(numbered(n, 1)[0])); err != nil {
				ended <- err
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	p.sees(320)
	s.kill()
	p.await("the page to notice", `$("#live").textContent.includes("reconnecting")`)
	p.visible("#banner")
	p.picture("reconnecting")
	s.restart()
	p.await("the tail to be live", `$("#live").textContent.includes("live")`)
	p.hidden("#banner")
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	head := s.head()
	p.sees(head)
	p.picture("reconnected")

	// The whole list, from its end to its beginning.
	shown := make(map[uint64]string)
	for at := head; at >= 1 && at <= head; {
		p.fill("#goto", fmt.Sprint(at))
		p.sees(at)
		rows := eval[[]struct {
			Index uint64
			Text  string
		}](p, `$$("#list [data-index]").map(r => ({Index: Number(r.dataset.index), Text: r.textContent}))`)
		seen := make(map[uint64]bool)
		lowest := at
		for _, r := range rows {
			if seen[r.Index] {
				t.Fatalf("entry %d is shown twice", r.Index)
			}
			seen[r.Index] = true
			if shown[r.Index] == "" {
				shown[r.Index] = r.Text
			}
			lowest = min(lowest, r.Index)
		}
		at = lowest - 1
	}
	for index := uint64(1); index <= head; index++ {
		if shown[index] == "" {
			t.Errorf("entry %d of %d is not shown", index, head)
		}
	}
}
