package engine_test

import (
	"context"
	"fmt"
	"os"

	"tcp-log-server/canonical"
	"tcp-log-server/engine"
)

// A log embedded in a program, without any network: append, read back, follow.
func Example() {
	dir, err := os.MkdirTemp("", "log-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	log, err := engine.Open(engine.NewConfig(dir))
	if err != nil {
		panic(err)
	}
	defer log.Close()

	// The log takes canonical JSON, each entry followed by a newline. Those of one append
	// are stored next to each other, or none of them is.
	var entries []byte
	for _, entry := range []string{`{"b": 1, "a": 2}`, `["second", 2.0]`} {
		entries, _, err = canonical.Append(entries, []byte(entry))
		if err != nil {
			panic(err) // not JSON, or with a duplicate member
		}
		entries = append(entries, '\n')
	}
	done := make(chan uint64, 1) // done must not make the log wait
	log.Append(entries, 2, engine.Condition{}, func(stored engine.Result, err error) {
		if err != nil {
			panic(err) // errors.Is(err, engine.ErrNotStored): safe to append again
		}
		done <- stored.First
	})
	fmt.Println("stored from index", <-done)

	// A reader begins at any index, and then follows.
	ctx := context.Background()
	for next := uint64(1); next <= 2; {
		head, moved := log.Acked()
		if head < next {
			<-moved // there is nothing to read yet
			continue
		}
		err := log.Read(ctx, next, head, func(first uint64, count int, entries []byte, _ int64, err error) error {
			if err != nil {
				fmt.Println(count, "entries from", first, "cannot be read:", err)
			} else {
				fmt.Printf("%d entries from %d:\n%s", count, first, entries)
			}
			next = first + uint64(count)
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// stored from index 1
	// 2 entries from 1:
	// {"a":2,"b":1}
	// ["second",2]
}
