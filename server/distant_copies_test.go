package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// distantCopies is a log on several machines that can be replicated.
type distantCopies struct {
	*distantFake
	copiedLog
}

func newDistantCopies(t *testing.T) distantCopies {
	fake := newDistantFake()
	fake.put(t, `{"n":1}`, `{"n":2}`)
	return distantCopies{fake, copied(fake)}
}

// TestReplicaAhead: a replica that comes from another machine's server, and is ahead of this one, is
// served once this one has reached the head that it knows; until that is known it is told to ask
// again.
func TestReplicaAhead(t *testing.T) {
	noLeaks(t)
	log := newDistantCopies(t)
	h := start(t, log, Config{})
	ask := `{"replicate":{"from":4,"store":"` + thisStore + `"}}`

	log.answers(nil)
	c := h.dial()
	c.send(ask)
	c.want(`{"error":"entries 3 to 3 of the replica are not in this log, which ends with 2: it has lost them, or was restored from an older copy"}`)
	log.silent()
	log.answers(errors.New("no majority"))
	c = h.dial()
	c.send(ask)
	c.want(`{"error":"not available now: no majority"}`)

	log.silent()
	log.setHead(3)
	log.answers(nil)
	c = h.dial()
	c.send(ask)
	c.want(fmt.Sprintf(replicating, 3))
	log.put(t, `{"n":3}`, `{"n":4}`)
	if b := c.batch(); b.Index != 4 || b.body != "{\"n\":4}\n" {
		t.Errorf("the replica gets %q from %d on, want entry 4", b.body, b.Index)
	}
}

// TestDigestAhead: a digest of entries that only other machines have is computed once they are here.
func TestDigestAhead(t *testing.T) {
	noLeaks(t)
	log := newDistantCopies(t)
	h := start(t, log, Config{})
	c := h.dial()
	log.answers(nil)
	c.send(`{"digest":{"from":1,"through":3}}`)
	c.want(`{"error":"digest of 1 to 3: the head is 2"}`)
	log.setHead(3)
	c.send(`{"digest":{"from":1,"through":3}}`)
	if line := c.line(); !strings.HasPrefix(line, `{"digest":"01`) {
		t.Errorf("got %s, want a digest", line)
	}
	log.silent()
	log.answers(errors.New("no majority"))
	c.send(`{"digest":{"from":1,"through":4}}`)
	c.want(`{"error":"not available now: no majority"}`)
}
