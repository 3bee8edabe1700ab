package fsck_test

import (
	"context"
	"fmt"
	"os"

	"tcp-log-server/engine"
	"tcp-log-server/fsck"
)

// makeLog makes a log with three entries and returns its directory.
func makeLog() string {
	dir, err := os.MkdirTemp("", "log-*")
	if err != nil {
		panic(err)
	}
	log, err := engine.Open(engine.NewConfig(dir))
	if err != nil {
		panic(err)
	}
	stored := make(chan error, 1)
	log.Append([]byte("[1]\n[2]\n[3]\n"), 3, engine.Condition{}, func(_ engine.Result, err error) { stored <- err })
	if err := <-stored; err != nil {
		panic(err)
	}
	if err := log.Close(); err != nil {
		panic(err)
	}
	return dir
}

// A check reports findings as it goes, and at the end says how many entries there are. The
// digest is the same for every intact copy of the log.
func ExampleCheck() {
	dir := makeLog()
	defer os.RemoveAll(dir)
	sum, err := fsck.Check(context.Background(), fsck.Options{
		Data:      dir,
		OnFinding: func(f fsck.Finding) { fmt.Println(f) },
	})
	if err != nil {
		panic(err) // the check itself failed
	}
	fmt.Println(sum.Entries, "entries,", sum.Errors, "errors, digest", sum.Digest[:8])
	// Output:
	// 3 entries, 0 errors, digest 320b9594
}
