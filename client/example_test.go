package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

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

// Append an entry that may have been appended before: by an earlier run, or by an attempt without an
// answer.
func ExampleClient_AppendOnce() {
	addr, stop := startServer()
	defer stop()
	c, err := client.Dial(context.Background(), addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	// It is sent again for as long as this lasts.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The identifier distinguishes this payment from any other of the same amount.
	for range 2 {
		index, seen, err := c.AppendOnce(ctx, []byte(`{"payment":"7f3a","amount":12}`))
		if err != nil {
			panic(err)
		}
		fmt.Println(index, seen)
	}
	// Output:
	// 1 false
	// 1 true
}

// Append only if nothing has been appended since the last look: here, to assign seats.
func ExampleClient_AppendIf() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	head, err := c.Head(ctx) // and read through it which seats are taken
	if err != nil {
		panic(err)
	}
	for _, who := range []string{"ann", "bob"} {
		_, err := c.AppendIf(ctx, head, fmt.Appendf(nil, `{"seat":1,"who":%q}`, who))
		var condition *client.ConditionError
		switch {
		case errors.As(err, &condition):
			fmt.Printf("%s: look again through entry %d\n", who, condition.Head)
		case err != nil:
			panic(err)
		default:
			fmt.Printf("%s has the seat\n", who)
		}
	}
	// Output:
	// ann has the seat
	// bob: look again through entry 1
}

// Append entries that only make sense together.
func ExampleClient_AppendAll() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	first, err := c.AppendAll(ctx, []byte(`{"from":"ann","amount":-12}`), []byte(`{"to":"bob","amount":12}`))
	if err != nil {
		panic(err)
	}
	fmt.Println("stored from", first, "on")
	// Output:
	// stored from 1 on
}

// Ask for several things at once, and for a receipt.
func ExampleClient_Put() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	r, err := c.Put(ctx, client.Write{
		Entries: [][]byte{[]byte(`{"b":2,"a":1}`), []byte(`[]`)},
		If:      new(uint64(0)), // the log is empty
		Receipt: true,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("stored from", r.Index, "on, less than a minute ago:", time.Since(r.Time) < time.Minute)
	fmt.Println(`the BLAKE3 hash of {"a":1,"b":2} is`, r.Hashes[0])
	// Output:
	// stored from 1 on, less than a minute ago: true
	// the BLAKE3 hash of {"a":1,"b":2} is 8e80439b77ac62d4194499edd46684c479da3aa1ac80dd5511468efae049166e
}

// Follow a log for as long as the context lasts, whatever happens to connections.
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

// Read entries that match both a time and a content: today's orders that are paid.
func ExampleClient_Read_options() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	today := time.Now().Truncate(24 * time.Hour)
	c.Append(ctx, []byte(`{"user":"ann","order":{"state":"paid","total":20}}`))
	c.Append(ctx, []byte(`{"user":"bob","order":{"state":"open","total":12}}`))
	c.Append(ctx, []byte(`{"user":"ann","order":{"state":"open","total":7}}`))

	paid := client.Where([]byte(`{"order":{"state":"paid"}}`))
	for e, err := range c.Read(ctx, 0, 0, client.Since(today), paid, client.WithTime()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Index, string(e.Value), !e.Time.Before(today))
	}
	for e, err := range c.Read(ctx, 0, 0, client.Last(2)) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Index, string(e.Value))
	}
	// Output:
	// 1 {"order":{"state":"paid","total":20},"user":"ann"} true
	// 2 {"order":{"state":"open","total":12},"user":"bob"}
	// 3 {"order":{"state":"open","total":7},"user":"ann"}
}
