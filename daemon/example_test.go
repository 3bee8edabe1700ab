package daemon_test

import (
	"context"
	"fmt"
	"net"
	"os"

	"tcp-log-server/daemon"
)

// A daemon inside another program, which ends with ctx.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "log-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	config := daemon.NewConfig(dir)
	config.Port = 0 // any free one
	config.OnReady = func(addr net.Addr) {
		fmt.Println("listening on", addr.(*net.TCPAddr).IP)
		stop()
	}
	fmt.Println("ended:", daemon.Run(ctx, config))
	// Output:
	// listening on 127.0.0.1
	// ended: <nil>
}
