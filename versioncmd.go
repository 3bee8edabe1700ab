package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v3"
)

// version is that of a release, given to its build by -ldflags "-X main.version=…".
var version string

// build is what a binary knows about how it was made.
type build struct {
	Version  string `json:"version"`            // of the release, or "devel"
	Revision string `json:"revision,omitempty"` // of the sources, where the build knew it
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the sources were not those of the revision
	Go       string `json:"go"`
	System   string `json:"system"`
}

// thisBuild reads what the linker has left in the binary.
func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
		// What `go install module@version` leaves; a plain build has "(devel)", or a
		// version made up of the revision, which is told anyway.
		if v := info.Main.Version; b.Version == "" && b.Revision == "" && strings.HasPrefix(v, "v") {
			b.Version = v
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// String is the build in one line.
func (b build) String() string {
	var parts []string
	if b.Revision != "" {
		revision := "revision " + b.Revision[:min(len(b.Revision), 12)]
		if b.Modified {
			revision += ", modified"
		}
		parts = append(parts, revision)
	}
	return fmt.Sprintf("%s (%s)", b.Version, strings.Join(append(parts, b.Go, b.System), ", "))
}

// versionCommand is `tcp-log-server version`.
func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version and what it was built from",
		Description: "Examples:\n" +
			"   tcp-log-server version\n" +
			"   tcp-log-server version --json | jq -r .revision",
		ArgsUsage: " ",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print a JSON object"}},
		Action: action(func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usageError(cmd, "want no arguments, got "+cmd.Args().First())
			}
			if cmd.Bool("json") {
				return json.NewEncoder(os.Stdout).Encode(thisBuild())
			}
			_, err := fmt.Println("tcp-log-server version", thisBuild()) // as --version
			return err
		}),
	}
}
