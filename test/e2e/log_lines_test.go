package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestLogLines(t *testing.T) {
	d := start(t, "DATA=memory", "LEVELDB=/somewhere", "LOG_LEVEL=debug")
	talk(t, d.addr, "[]\n")
	for _, want := range []struct {
		name, msg string
		level     float64
	}{
		{"connected", "client connected", 30},
		{"invalid", "message refused", 40},
		{"end", "end of the client's input", 20},
		{"close", "connection closed", 20},
	} {
		name := want.name
		e := d.event(t, name)
		if _, ok := e["connection"].(string); !ok || e["level"] != want.level || e["msg"] != want.msg || e["pid"] == nil || e["hostname"] == nil || e["time"] == nil {
			t.Errorf("event %q lacks a field of pino's, or the connection, or is not %v: %v", name, want, e)
		}
		if name == "connected" && (e["address"] != "127.0.0.1" || e["port"] == nil) {
			t.Errorf("event %q lacks address or port: %v", name, e)
		}
	}
	d.cmd.Process.Signal(os.Interrupt)
	d.event(t, "stopped")
	if code := d.wait(t); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
}

// TestConnectionLines: a connection without faults logs one line, and a second one if there is
// something to say about its end.
func TestConnectionLines(t *testing.T) {
	d := start(t, "DATA=memory")
	connect := func() *net.TCPConn {
		c, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn)
	}
	talk(t, d.addr, `{"id":"1","entry":[1]}`+"\n")
	talk(t, d.addr, strings.Repeat("[]\n", 13))
	reset := connect()
	line(t, reset, `{"id":"2","entry":[2]}`)
	reset.SetLinger(0)
	reset.Close()
	var lines []string
	for range 3 + 1 + 10 + 1 {
		e := <-d.events
		lines = append(lines, fmt.Sprintf("%v %v %v %v", e["level"], e["event"], e["msg"], e["unlogged"]))
	}
	want := slices.Concat([]string{"30 connected client connected <nil>", "30 connected client connected <nil>"},
		slices.Repeat([]string{"40 invalid message refused <nil>"}, 10),
		[]string{"30 close connection closed after bad messages 3", "30 connected client connected <nil>", "30 close connection closed by an error <nil>"})
	slices.Sort(lines) // a line about a close may come after the next connection's first
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("the server logs\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code is %d", code)
	}
}

// TestLogReader: if the reader of the log goes away, or stops reading, the server
// continues to serve, and stops cleanly.
func TestLogReader(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(out *os.File){
		"goes away":     func(out *os.File) { out.Close() },
		"stops reading": func(*os.File) {},
	} {
		t.Run(name, func(t *testing.T) {
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd := exec.Command(path)
			cmd.Env = append(os.Environ(), "PORT=0", "DATA=memory", "LOG_LEVEL=debug")
			cmd.Stdout = in
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			in.Close()
			line, err := bufio.NewReaderSize(out, 16).ReadSlice('}')
			for err == bufio.ErrBufferFull {
				var more []byte
				more, err = bufio.NewReaderSize(out, 1024).ReadSlice('}')
				line = append(append([]byte(nil), line...), more...)
			}
			var port int
			if _, rest, ok := strings.Cut(string(line), `"port":`); !ok {
				t.Fatalf("first line is %s", line)
			} else if _, err := fmt.Sscanf(rest, "%d", &port); err != nil {
				t.Fatal(err)
			}
			read(out)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			for range 400 { // each logs more than 400 bytes; a pipe holds 64 KiB
				if got := talk(t, addr, "[]\n"); got != "{\"error\":\"invalid message: it is an array, want an object\"}\n" {
					t.Fatalf("reply is %q", got)
				}
			}
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}
