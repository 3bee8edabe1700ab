package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
)

// BenchmarkReplicate compares a replication stream with a plain replay, of a log that is in the
// page cache, over a socket, with batches of a few entries and of many.
func BenchmarkReplicate(b *testing.B) {
	for _, batch := range []int{1, 8, 64, 2000} {
		entries := min(400_000, 20_000*batch)
		config := engine.NewConfig(b.TempDir())
		config.LooseMax = 0
		log, err := engine.Open(config)
		if err != nil {
			b.Fatal(err)
		}
		run := bytes.Repeat(append(bytes.Clone(entry200), '\n'), batch)
		for n := 0; n < entries; n += batch {
			done := make(chan error, 1)
			log.Append(run, batch, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		s := New(copied(log), Config{})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		go s.Serve(ln)
		for _, stream := range []bool{false, true} {
			name := "replay"
			if stream {
				name = "stream"
			}
			b.Run(fmt.Sprintf("%s/batches of %d", name, batch), func(b *testing.B) {
				for b.Loop() {
					nc, err := net.Dial("tcp", ln.Addr().String())
					if err != nil {
						b.Fatal(err)
					}
					r := bufio.NewReaderSize(nc, 1<<20)
					if stream {
						fmt.Fprintf(nc, `{"replicate":{"from":1}}`+"\n")
						err = discardBatches(r, entries)
					} else {
						fmt.Fprintf(nc, `{"from":1,"read":%d}`+"\n", entries)
						for n := 0; n <= entries && err == nil; n++ {
							_, err = r.ReadSlice('\n')
						}
					}
					if err != nil {
						b.Fatal(err)
					}
					nc.Close()
				}
				b.ReportMetric(float64(b.N)*float64(entries)/b.Elapsed().Seconds(), "entries/s")
			})
		}
		s.Shutdown(context.Background())
		log.Close()
	}
}

// discardBatches receives batches through an index.
func discardBatches(r *bufio.Reader, through int) error {
	for index, count, size := 0, 0, 0; index+count-1 < through; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte(`{"batch"`)) {
			continue
		}
		field := func(name string, n *int) {
			*n = 0
			_, rest, _ := bytes.Cut(line, []byte(name))
			for i := 0; rest[i] >= '0' && rest[i] <= '9'; i++ {
				*n = 10**n + int(rest[i]-'0')
			}
		}
		field(`"index":`, &index)
		field(`"count":`, &count)
		field(`"size":`, &size)
		if _, err := r.Discard(size); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkShown measures the time from an append to an idle log until a follower, or a replica,
// has the entry.
func BenchmarkShown(b *testing.B) {
	for _, stream := range []bool{false, true} {
		name, begin, first := "follower", `{"from":1}`, `{"current":true}`
		if stream {
			name, begin, first = "replica", `{"replicate":{"from":1}}`, `{"replicating"`
		}
		b.Run(name, func(b *testing.B) {
			log, err := engine.Open(engine.NewConfig(b.TempDir()))
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
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
			r := bufio.NewReader(nc)
			fmt.Fprintln(nc, begin)
			if line, err := r.ReadString('\n'); err != nil || line[:len(first)] != first {
				b.Fatal(line, err)
			}
			for n := 1; b.Loop(); n++ {
				log.Append([]byte("[1]\n"), 1, appends.Condition{}, func(appends.Result, error) {})
				if stream {
					err = discardBatches(r, n)
				} else {
					_, err = r.ReadSlice('\n')
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
