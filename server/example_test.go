package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// A server in another program: it serves a listener until Shutdown, and leaves the log to
// the program.
func Example() {
	log, err := engine.Open(engine.NewConfig(engine.Memory))
	if err != nil {
		panic(err)
	}
	defer log.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := server.New(log, server.NewConfig())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	// A client, which could be any program in any language.
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(client, `{"id":"1","entry":{"b":1,"a":2}}`)
	lines := bufio.NewScanner(client)
	lines.Scan()
	fmt.Println(lines.Text())
	fmt.Fprintln(client, `{"from":1,"read":1}`)
	for range 2 {
		lines.Scan()
		fmt.Println(lines.Text())
	}
	client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		panic(err)
	}
	fmt.Println(<-served)
	// Output:
	// {"id":"1","index":1}
	// {"index":1,"entry":{"a":2,"b":1}}
	// {"head":1}
	// server closed
}

// One connection, of any kind: here the two ends of a pipe in memory.
func ExampleServer_ServeConn() {
	log, err := engine.Open(engine.NewConfig(engine.Memory))
	if err != nil {
		panic(err)
	}
	defer log.Close()
	srv := server.New(log, server.NewConfig())

	client, conn := net.Pipe()
	served := make(chan struct{})
	go func() {
		srv.ServeConn(conn)
		close(served)
	}()

	lines := bufio.NewScanner(client)
	fmt.Fprintln(client, `{"from":1}`)
	lines.Scan()
	fmt.Println(lines.Text())
	fmt.Fprintln(client, `{"id":"greeting","entry":["hello"]}`)
	for range 2 {
		lines.Scan()
		fmt.Println(lines.Text())
	}

	client.Close()
	<-served
	// Output:
	// {"current":true}
	// {"id":"greeting","index":1}
	// {"index":1,"entry":["hello"]}
}
