package backup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/backup"
	"tcp-log-server/engine"
)

// A backup of an open log. The next run copies only new entries.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "log-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	config := backup.Config{Data: filepath.Join(dir, "log"), Dest: filepath.Join(dir, "copy")}
	log, err := engine.Open(engine.NewConfig(config.Data))
	if err != nil {
		panic(err)
	}
	defer log.Close()
	for _, entry := range []string{`{"n":1}`, `{"n":2}`} {
		stored := make(chan error, 1)
		log.Append([]byte(entry+"\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { stored <- err })
		if err := <-stored; err != nil {
			panic(err)
		}
		result, err := backup.Run(context.Background(), config)
		if err != nil {
			panic(err)
		}
		fmt.Println("entries", result.Before+1, "to", result.Head)
	}
	// Output:
	// entries 1 to 1
	// entries 2 to 2
}
