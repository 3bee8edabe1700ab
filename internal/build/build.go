// Package build tells what this binary was built from.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is that of a release, given to its build by -ldflags "-X tcp-log-server/internal/build.version=…".
var version string

// Info is what a binary knows about how it was made.
type Info struct {
	Version  string `json:"version"`            // of the release, or "devel"
	Revision string `json:"revision,omitempty"` // of the sources, where the build knew it
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the sources were not those of the revision
	Go       string `json:"go"`
	System   string `json:"system"`
}

// This reads what the linker has left in the binary.
func This() Info {
	b := Info{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
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
func (b Info) String() string {
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
