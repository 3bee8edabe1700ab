package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestEntries(t *testing.T) {
	for _, size := range []int{minEntrySize, 200, 4096} {
		s := newEntrySource(size, 7)
		seen := make(map[string]bool)
		for i := range 500 {
			e := s.put(nil, int64(i))
			if len(e) != size {
				t.Fatalf("entry of %d bytes, want %d", len(e), size)
			}
			// Members sorted and no white space is what Go's encoder makes
			// of a map, and is the canonical form for these values.
			var v map[string]any
			if err := json.Unmarshal(e, &v); err != nil {
				t.Fatalf("%v in %s", err, e)
			}
			if canonical, _ := json.Marshal(v); !bytes.Equal(canonical, e) {
				t.Fatalf("not canonical: %s", e)
			}
			if stamp, ok := stampOf(e); !ok || stamp != int64(i) {
				t.Fatalf("stamp %d, %v, want %d", stamp, ok, i)
			}
			if seen[string(e)] {
				t.Fatalf("written twice: %s", e)
			}
			seen[string(e)] = true
		}
	}
}

// responseHeader begins a response in chunks.
const responseHeader = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"

// chunk is a chunk of a response; an empty one ends it.
func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// appenderCase is a codec with the acknowledgements of its first two appends.
type appenderCase struct {
	name  string
	make  func() appender
	acks  string
	wrong string
}

func appenderCases() []appenderCase {
	entries := func() *entrySource { return newEntrySource(200, 1) }
	return []appenderCase{
		{"log", func() appender { return &logAppender{entries: entries()} },
			"{\"id\":\"00000000\",\"index\":9}\n{\"id\":\"00000001\",\"index\":10}\n",
			"{\"id\":\"00000001\",\"index\":9}\n"},
		{"redis", func() appender { return newRespAppender(entries()) },
			"$15\r\n1795394563300-0\r\n$16\r\n1795394563300-10\r\n",
			"-OOM command not allowed\r\n"},
		{"nats", func() appender { return newNATSAppender(entries(), 3) },
			"MSG _B.3 1 22\r\n{\"stream\":\"s\",\"seq\":1}\r\nPING\r\nMSG _B.3 1 22\r\n{\"stream\":\"s\",\"seq\":2}\r\n",
			"MSG _B.3 1 13\r\n{\"error\":\"no\"}\r\n"},
		{"nats in batches", func() appender { return newBatchAppender(entries(), 3) },
			"PING\r\nMSG _B.3 1 46\r\n{\"stream\":\"s\",\"seq\":2,\"batch\":\"3.1\",\"count\":2}\r\n",
			"MSG _B.3 1 46\r\n{\"stream\":\"s\",\"seq\":2,\"batch\":\"3.1\",\"count\":2}\r\n"},
		{"POST of one", func() appender { return &postAppender{entries: entries()} },
			"HTTP/1.1 201 Created\r\nLocation: /entries/9\r\nContent-Length: 12\r\n\r\n{\"index\":9}\nHTTP/1.1 201 Created\r\nContent-Length: 13\r\n\r\n{\"index\":10}\n",
			"HTTP/1.1 409 Conflict\r\nContent-Length: 13\r\n\r\n{\"error\":\"\"}\n"},
		{"POST of lines", func() appender { return &linesAppender{entries: entries()} },
			responseHeader + chunk("{\"index\":9}\n{\"inde") + chunk("x\":10}\n"),
			responseHeader + chunk("{\"error\":\"\"}\n")},
	}
}

func TestAppenders(t *testing.T) {
	for _, c := range appenderCases() {
		t.Run(c.name, func(t *testing.T) {
			// The acknowledgements may be split anywhere.
			for cut := range len(c.acks) {
				a := c.make()
				out := a.requests(nil, 2, 5)
				if bytes.Count(out, []byte(`"kind":"order.placed"`)) != 2 {
					t.Fatalf("two appends are %q", out)
				}
				used, n, err := a.replies([]byte(c.acks[:cut]))
				if err != nil {
					t.Fatal(err)
				}
				used2, n2, err := a.replies([]byte(c.acks[used:]))
				if err != nil || n+n2 != 2 || used+used2 != len(c.acks) {
					t.Fatalf("cut at %d: %d+%d replies, %d of %d bytes, %v", cut, n, n2, used+used2, len(c.acks), err)
				}
			}
			a := c.make()
			a.requests(nil, 1, 5)
			if _, _, err := a.replies([]byte(c.wrong)); err == nil {
				t.Errorf("accepted %q", c.wrong)
			}
		})
	}
}

func TestReaders(t *testing.T) {
	const a, b = `{"a":1}`, `{"b":2}`
	cases := []struct {
		name, asks, stream, gap string
		reader                  reader
	}{
		{"log", "{\"from\":1}\n",
			"{\"index\":1,\"entry\":" + a + "}\n{\"index\":2,\"entry\":" + b + "}\n{\"current\":true}\n",
			"{\"index\":4,\"entry\":" + a + "}\n",
			newLogReader(readPlan{}, false)},
		{"log by pulls", "{\"from\":1,\"read\":2}\n",
			"{\"index\":1,\"entry\":" + a + "}\n{\"index\":2,\"entry\":" + b + "}\n{\"head\":9}\n",
			"{\"index\":2,\"entry\":" + b + "}\n",
			newLogReader(readPlan{pull: 2}, false)},
		{"redis", "$6\r\nXRANGE\r\n$1\r\ns\r\n$4\r\n(0-0\r\n",
			"*2\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nd\r\n$7\r\n" + a + "\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nd\r\n$7\r\n" + b + "\r\n",
			"*2\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nd\r\n$7\r\n" + a + "\r\n",
			newRespReader(readPlan{pull: 2})},
		{"redis following", "XREAD\r\n$5\r\nBLOCK",
			"*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nd\r\n$7\r\n" + a + "\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\nd\r\n$7\r\n" + b + "\r\n",
			"-ERR\r\n",
			newRespReader(readPlan{follow: true})},
		{"nats", "$JS.API.CONSUMER.CREATE.s.r0 ",
			"MSG s 1 $JS.ACK.s.r0.1.1.1.17.1 7\r\n" + a + "\r\nHMSG _B.0 1 $JS.FC.x 32 32\r\nNATS/1.0 100 FlowControl\r\nx: y\r\n\r\nMSG s 1 $JS.ACK.s.r0.1.2.2.17.0 7\r\n" + b + "\r\n",
			"MSG s 1 $JS.ACK.s.r0.1.4.4.17.0 7\r\n" + b + "\r\n",
			newNATSReader(readPlan{})},
		{"http", "GET /entries?from=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
			responseHeader + chunk("{\"index\":1,\"entry\":"+a+"}\n{\"inde") + chunk("x\":2,\"entry\":"+b+"}\n{\"head\":2}\n") + chunk(""),
			responseHeader + chunk("{\"index\":4,\"entry\":"+a+"}\n"),
			newHTTPReader(readPlan{})},
		{"http following", "Accept: text/event-stream\r\n\r\n",
			responseHeader + chunk("id: 1\ndata: {\"index\":1,\"entry\":"+a+"}\n\n") + chunk(":\n\n") + chunk("id: 2\ndata: {\"index\":2,\"entry\":"+b+"}\n\n") + chunk("event: current\ndata: {\"current\":true}\n\n"),
			chunk("id: 4\ndata: {\"index\":4,\"entry\":" + a + "}\n\n"),
			newHTTPReader(readPlan{follow: true})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if ask := string(c.reader.ask(nil)); !strings.Contains(ask, c.asks) {
				t.Fatalf("asks %q, want %q", ask, c.asks)
			}
			var got []string
			visit := func(e []byte) { got = append(got, string(e)) }
			// Byte by byte, as from a slow network, keeping the bytes that are
			// not consumed.
			var held []byte
			total := 0
			for _, octet := range []byte(c.stream) {
				held = append(held, octet)
				used, n, err := c.reader.scan(held, visit)
				if err != nil {
					t.Fatal(err)
				}
				held = held[used:]
				total += n
			}
			if total != 2 || fmt.Sprint(got) != fmt.Sprint([]string{a, b}) || len(held) > 0 {
				t.Fatalf("read %d entries %q, %q left over", total, got, held)
			}
			c.reader.ask(nil)
			if _, _, err := c.reader.scan([]byte(c.gap), nil); err == nil {
				t.Errorf("accepted %q after two entries", c.gap)
			}
		})
	}
}

func TestLogReaderCountsThroughCarries(t *testing.T) {
	r := newLogReader(readPlan{}, false)
	for i := 1; i <= 1234; i++ {
		line := fmt.Sprintf("{\"index\":%d,\"entry\":{}}\n", i)
		if _, n, err := r.scan([]byte(line), nil); n != 1 || err != nil {
			t.Fatalf("%s: %d entries, %v", line, n, err)
		}
	}
}

func TestNATSFlowControlIsAnswered(t *testing.T) {
	r := newNATSReader(readPlan{})
	r.ask(nil)
	const stalled = "NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.y\r\n\r\n"
	stream := fmt.Sprintf("HMSG _B.0 1 %d %d\r\n%s\r\n", len(stalled), len(stalled), stalled)
	if _, _, err := r.scan([]byte(stream), nil); err != nil {
		t.Fatal(err)
	}
	if got := string(r.ask(nil)); got != "PUB $JS.FC.y 0\r\n\r\n" {
		t.Errorf("answered %q", got)
	}
}
