package server

import (
	"bufio"
	"fmt"
	"net"
	"testing"

	"tcp-log-server/engine"
)

func TestSmoke(t *testing.T) {
	l, err := engine.Open(engine.NewConfig(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	s := New(l, NewConfig())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "%s", `{"id":"a","entry":{"b":1,"a":2}}
{"id":"b","entry":[1, 2]}
{"from":1}
{"from":1}
{"id":"c","entry":{"a":1,"a":2}}
nonsense: no`+"\n")
	sc := bufio.NewScanner(c)
	for sc.Scan() {
		t.Log(sc.Text())
	}
	s.Shutdown(t.Context())
	l.Close()
}
