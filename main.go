// Command tcp-log-server serves an append-only log of JSON entries over TCP.
package main

import (
	"os"

	"tcp-log-server/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
