package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// entry200 is an entry of 200 bytes in canonical form.
var entry200 = fmt.Appendf(nil, `{"amount":12.5,"id":1234567,"kind":"order","lines":[1,2,3],"note":"%s","to":{"city":"Bern","zip":3000}}`, bytes.Repeat([]byte("x"), 103))

func BenchmarkEncodeRun(b *testing.B) {
	const count = 1000
	run := bytes.Repeat(append(bytes.Clone(entry200), '\n'), count)
	b.SetBytes(int64(len(run)))
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out, _, _ = appendRun(out[:0], 1_000_000, count, run, nil, math.MaxInt)
	}
}

func BenchmarkReplies(b *testing.B) {
	g := new(group)
	for i := range 100 {
		g.add(fmt.Appendf(nil, `"%d"`, i))
	}
	g.stored.First = 1_000_000
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = out[:0]
		for g.replied, g.repliedID = 0, 0; g.more(); {
			out = g.appendReply(out)
		}
	}
}

// BenchmarkWhere reads a log that is in the page cache through filters, over a socket.
func BenchmarkWhere(b *testing.B) {
	const entries = 200_000
	config := engine.NewConfig(b.TempDir())
	config.LooseMax, config.SettleEvery = 0, time.Millisecond
	log, err := engine.Open(config)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for n := 0; n < entries; {
		const count = 64 // like clients with that many writes in flight
		var run []byte
		for range count {
			run = fmt.Appendf(run, `{"amount":12.5,"id":%d,"kind":"order","lines":[1,2,3],"note":"%s","to":{"city":"Bern","zip":3000}}`+"\n", 1_000_000+n, entry200[56:159])
			n++
		}
		done := make(chan error, 1)
		log.Append(run, count, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for log.Stats().Settled < entries {
		time.Sleep(time.Millisecond)
	}
	s := New(log, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go s.Serve(ln)
	defer s.Shutdown(context.Background())
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 1<<20)
	for _, bb := range []struct{ name, options string }{
		{"no match", `,"where":{"user":"ann"}`},
		{"no match, though each looks like one", `,"where":{"city":"Bern"}`},
		{"one of 200,000", `,"where":{"id":1123456}`},
		{"all match", `,"where":{"to":{"city":"Bern"}}`},
		{"no filter", ``},
		{"no filter, time", `,"time":true`},
		{"no filter, time and hash", `,"time":true,"hash":true`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				fmt.Fprintf(nc, `{"from":1,"through":%d%s}`+"\n", entries, bb.options)
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if bytes.HasPrefix(line, []byte(`{"head"`)) {
						break
					}
				}
			}
			b.ReportMetric(float64(b.N)*entries/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
