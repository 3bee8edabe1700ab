package main

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// largeEntry is about the size of a large entry, in bytes of its line.
	largeEntry = 16<<20 - 1000
	// largeSenders is how many connections each keep sending one, unless the cell says otherwise.
	largeSenders = 3
	// largeLeast is the shortest time that such a cell measures: a large entry can take a second.
	largeLeast = 6 * time.Second
	// largePause is the time between the acknowledgement of a small append and the next append. One
	// that follows at once would mostly measure the moments in which nothing waits.
	largePause = 5 * time.Millisecond
)

// largeShapes are entries that are expensive for the server. "text" is the cheapest, so it shows
// the cost of the disk alone.
var largeShapes = []struct {
	name  string
	entry func() string
}{
	{"text", func() string { return `["` + strings.Repeat("a", largeEntry-4) + `"]` }},
	{"members", unsortedMembers},
	{"objects", func() string { return arrayOf(`{"b":0,"a":0}`) }},
	{"nested", func() string { return arrayOf(strings.Repeat(`{"b":0,"a":`, 126) + "0" + strings.Repeat("}", 126)) }},
	{"numbers", func() string { return arrayOf("12345678901234567890e-7") }},
}

// arrayOf returns a large array of element.
func arrayOf(element string) string {
	return "[" + strings.Repeat(element+",", (largeEntry-2)/(len(element)+1)-1) + element + "]"
}

// unsortedMembers returns a large object whose members are in descending order.
func unsortedMembers() string {
	b := make([]byte, 0, largeEntry)
	b = append(b, '{')
	for i := 0; len(b) < largeEntry-16; i++ {
		name := [4]byte{}
		for j, n := len(name)-1, i; j >= 0; j, n = j-1, n/52 {
			name[j] = "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA"[n%52]
		}
		b = append(append(append(b, '"'), name[:]...), `":0,`...)
	}
	b[len(b)-1] = '}'
	return string(b)
}

// largeCells measure how long a small append takes while clients keep sending large entries.
func largeCells() (cells []cell) {
	for _, shape := range largeShapes {
		cells = append(cells, largeCell(shape.name, largeSenders, shape.entry))
	}
	for _, senders := range []int{1, 10} {
		cells = append(cells, largeCell(fmt.Sprintf("text-%d", senders), senders, largeShapes[0].entry))
	}
	return cells
}

// largeCell measures small appends while senders connections send entry.
func largeCell(name string, senders int, entry func() string) cell {
	builds := []string{"ours", "base"} // builds of this server, see pair
	return cell{group: "large", name: name, only: builds, run: func(r *runner, t *target) (m measurement, err error) {
		line := []byte(`{"id":"large","entry":` + entry() + "}\n")
		err = r.withServer(t, nil, func(p *process) error {
			m, err = r.besideLarge(t, p, senders, line)
			return err
		})
		return m, err
	}}
}

// besideLarge measures small appends alone, and then while senders connections send line. The rate
// is that of the large entries.
func (r *runner) besideLarge(t *target, p *process, senders int, line []byte) (measurement, error) {
	alone, err := r.paced(t, p, r.duration)
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	type sent struct {
		n   int
		err error
	}
	ended := make(chan sent, senders)
	for range senders {
		go func() {
			n, err := sendLarge(p.addr, line, stop)
			ended <- sent{n, err}
		}()
	}
	cpu, began := p.cpu(), now()
	beside, err := r.paced(t, p, max(r.duration, largeLeast))
	cpu = p.cpu() - cpu
	elapsed := time.Duration(now() - began)
	close(stop)
	n := 0
	for range senders {
		s := <-ended
		n += s.n
		err = errors.Join(err, s.err)
	}
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, fmt.Errorf("no large entry was acknowledged within %v", elapsed)
	}
	m := measurement{
		"rate":       float64(n) / elapsed.Seconds(),
		"bytes_rate": float64(n*len(line)) / elapsed.Seconds(),
		"server_cpu": cpu.Seconds() / float64(n),
		"rss":        p.rss(),
		"p50_alone":  alone.quantile(.5).Seconds(),
		"p99_alone":  alone.quantile(.99).Seconds(),
	}
	addLatency(m, beside)
	return m, nil
}

// sendLarge appends line again and again until stop is closed, and returns the number of
// acknowledgements.
func sendLarge(addr string, line []byte, stop chan struct{}) (n int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := dialRaw(addr)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(fd)
	for {
		select {
		case <-stop:
			return n, nil
		default:
		}
		if err := exchange(fd, line, []byte(`{"id":"large","index":`)); err != nil {
			return n, fmt.Errorf("append a large entry: %w", err)
		}
		n++
	}
}

// paced measures small appends, one at a time with a pause before the next.
func (r *runner) paced(t *target, p *process, duration time.Duration) (*histogram, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := dialRaw(p.addr)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	codec := t.writers(r.entrySize)(0)
	latency := new(histogram)
	for end := now() + int64(duration); now() < end; {
		sent := now()
		if err := exchange(fd, codec.requests(nil, 1, sent), []byte(`{"id":"`)); err != nil {
			return nil, err
		}
		latency.record(now() - sent)
		time.Sleep(largePause)
	}
	return latency, nil
}

// exchange sends a message on a blocking socket and reads the line that answers it.
func exchange(fd int, message, want []byte) error {
	for len(message) > 0 {
		n, err := syscall.Write(fd, message)
		if err != nil && err != syscall.EINTR {
			return err
		}
		message = message[max(n, 0):]
	}
	line, buf := []byte(nil), make([]byte, 1024)
	for !bytes.HasSuffix(line, []byte("\n")) {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("connection closed by the server")
		}
		line = append(line, buf[:n]...)
	}
	if !bytes.HasPrefix(line, want) || !bytes.Contains(line, []byte(`"index":`)) {
		return fmt.Errorf("server said %.200q", line)
	}
	return nil
}
