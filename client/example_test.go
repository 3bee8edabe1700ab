package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/server"
)

// startServer stands in for a server that runs elsewhere.
func startServer() (addr string, stop func()) {
	log, err := engine.Open(engine.NewConfig(engine.Memory))
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := server.New(log, server.NewConfig())
	go srv.Serve(ln)
	return ln.Addr().String(), func() {
		srv.Shutdown(context.Background())
		log.Close()
	}
}

// Append a few entries and read them back.
func Example() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()

	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	for _, order := range []struct{ Item string }{{"tea"}, {"milk"}} {
		entry, err := json.Marshal(order)
		if err != nil {
			panic(err)
		}
		index, err := c.Append(ctx, entry)
		if err != nil {
			panic(err)
		}
		fmt.Println("stored at", index)
	}

	for e, err := range c.Read(ctx, 1, 0) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Index, string(e.Value))
	}
	// Output:
	// stored at 1
	// stored at 2
	// 1 {"Item":"tea"}
	// 2 {"Item":"milk"}
}

// What an error says about the entry.
func ExampleClient_Append_errors() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	for _, entry := range []string{`{"a":1,"a":2}`, `a string`, `[]`} {
		_, err := c.Append(ctx, []byte(entry))
		switch {
		case err == nil:
			fmt.Println("stored")
		case errors.Is(err, client.ErrRefused):
			fmt.Println("the server will not have it:", err)
		case errors.Is(err, client.ErrNotSent):
			fmt.Println("safe to append again once it is put right:", err)
		case errors.Is(err, client.ErrUnknown):
			fmt.Println("read the log to see whether it is there:", err)
		}
	}
	// Output:
	// the server will not have it: not stored: duplicate member "a" at byte 7 of the entry
	// safe to append again once it is put right: not sent: not a JSON object, array or null: not JSON: found 'a' at byte 0, want a value
	// stored
}

// Many appends in flight at once, from one goroutine, in order.
func ExampleClient_AppendAsync() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	var answers sync.WaitGroup
	var last uint64
	for n := range 10_000 {
		answers.Add(1)
		err := c.AppendAsync(ctx, fmt.Appendf(nil, `{"n":%d}`, n), func(index uint64, err error) {
			if err != nil {
				panic(err)
			}
			last = index
			answers.Done()
		})
		if err != nil {
			panic(err)
		}
	}
	answers.Wait()
	fmt.Println("the last is at", last)
	// Output:
	// the last is at 10000
}

// Follow a log for as long as the context lasts, whatever becomes of connections.
func ExampleClient_Follow() {
	addr, stop := startServer()
	defer stop()
	c, err := client.Dial(context.Background(), addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	c.Append(context.Background(), []byte(`{"n":1}`))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	next := uint64(1) // keep this, to continue there after a restart
	for e, err := range c.Follow(ctx, next) {
		var damaged *client.EntryError
		switch {
		case errors.As(err, &damaged):
			fmt.Println("cannot be read:", damaged.Index)
		case err != nil:
			fmt.Println("the end:", err)
			continue // there is nothing more
		default:
			fmt.Println(e.Index, string(e.Value))
		}
		next++
		if e.Index == 1 {
			c.Append(ctx, []byte(`{"n":2}`))
		} else {
			cancel()
		}
	}
	// Output:
	// 1 {"n":1}
	// 2 {"n":2}
	// the end: context canceled
}
