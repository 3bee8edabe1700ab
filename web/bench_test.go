package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// ways are the ways to read that the benchmarks compare: the client's request for a read, over TCP
// or HTTP. %s is its end.
var ways = []struct{ name, follow, read string }{
	{"tcp", `{"from":1}` + "\n", `{"from":1,"read":%d}` + "\n"},
	{"ndjson", "GET /entries?follow HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /entries?read=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	{"sse", "GET /entries HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", "GET /entries?read=%d HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"},
}

// bench is a log on a RAM disk, served over TCP and HTTP.
type bench struct {
	*testing.B
	log   *engine.Log
	addrs map[string]string
}

func newBench(b *testing.B) *bench {
	b.Helper()
	dir := b.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "web-bench"); err == nil {
		b.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	config := engine.NewConfig(filepath.Join(dir, "log"))
	config.LooseMax = 0
	log, err := engine.Open(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	srv := server.New(log, server.Config{})
	web := &http.Server{Handler: New(Config{Server: srv, Log: log})}
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return ln
	}
	tcp, over := listen(), listen()
	go srv.Serve(tcp)
	go web.Serve(over)
	b.Cleanup(func() {
		web.Close()
		srv.Shutdown(context.Background())
	})
	return &bench{b, log, map[string]string{"tcp": tcp.Addr().String(), "ndjson": over.Addr().String(), "sse": over.Addr().String()}}
}

// fill appends count entries of about 60 bytes, 100 at a time, and then the last one.
func (b *bench) fill(count int) {
	b.Helper()
	left := make(chan error, count/100+2)
	calls := 0
	for n := 0; n < count; calls++ {
		var run []byte
		first := n
		for ; n < count && n-first < 100; n++ {
			run = fmt.Appendf(run, `{"amount":%d,"at":"2026-11-28","user":"ann"}`+"\n", n)
		}
		b.log.Append(run, n-first, appends.Condition{}, func(_ appends.Result, err error) { left <- err })
	}
	b.log.Append([]byte("[\"end\"]\n"), 1, appends.Condition{}, func(_ appends.Result, err error) { left <- err })
	for range calls + 1 {
		if err := <-left; err != nil {
			b.Fatal(err)
		}
	}
}

// dial sends a request and returns the connection.
func (b *bench) dial(way, request string) net.Conn {
	b.Helper()
	nc, err := net.Dial("tcp", b.addrs[way])
	if err == nil {
		_, err = io.WriteString(nc, request)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	return nc
}

// drain receives into buf until the input ends with mark.
func drain(nc net.Conn, buf []byte, mark string) error {
	kept := 0
	for {
		n, err := nc.Read(buf[kept:])
		if err != nil {
			return err
		}
		n += kept
		tail := buf[max(0, n-64):n]
		if bytes.Contains(tail, []byte(mark)) {
			return nil
		}
		kept = copy(buf, tail)
	}
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRead reads 1,000,000 entries per operation.
func BenchmarkRead(b *testing.B) {
	const count = 1_000_000
	s := newBench(b)
	s.fill(count - 1)
	buf := make([]byte, 256<<10)
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			began := cpu()
			for b.Loop() {
				nc := s.dial(way.name, fmt.Sprintf(way.read, count))
				if err := drain(nc, buf, `{"head":`); err != nil {
					b.Fatal(err)
				}
				nc.Close()
			}
			b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(cpu()-began)/float64(b.N)/count, "cpu-ns/entry")
		})
	}
}

// BenchmarkFollow measures what 200 followers receive per operation: 10,000 entries at full speed,
// or a single one.
func BenchmarkFollow(b *testing.B) {
	for _, count := range []int{10_000, 1} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%d/%s", count, way.name), func(b *testing.B) { benchmarkFollow(b, way.name, way.follow, count) })
		}
	}
}

func benchmarkFollow(b *testing.B, way, request string, count int) {
	const followers = 200
	s := newBench(b)
	received := make(chan error, followers)
	next := make([]chan bool, followers)
	for i := range next {
		nc, buf := s.dial(way, request), make([]byte, 256<<10)
		if err := drain(nc, buf, `{"current":true}`); err != nil {
			b.Fatal(err)
		}
		next[i] = make(chan bool)
		go func() {
			for range next[i] {
				received <- drain(nc, buf, `["end"]`)
			}
		}()
	}
	began := cpu()
	for b.Loop() {
		for _, c := range next {
			c <- true
		}
		s.fill(count - 1)
		for range next {
			if err := <-received; err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range next {
		close(c)
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N*count*followers), "cpu-ns/line")
	b.ReportMetric(float64(b.N*count*followers)/b.Elapsed().Seconds(), "lines/s")
}
