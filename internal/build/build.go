// Package build says what this binary was built from.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is the version of a release, set by its build with -ldflags "-X
// tcp-log-server/internal/build.version=…".
var version string

// Info is what a binary knows about its build.
type Info struct {
	Version  string `json:"version"`            // of a release, or "devel"
	Revision string `json:"revision,omitempty"` // of the sources, if known
	Time     string `json:"time,omitempty"`     // of that revision
	Modified bool   `json:"modified,omitempty"` // the sources differed from the revision
	Go       string `json:"go"`
	System   string `json:"system"`
}

// This returns the Info that the linker has put into the binary.
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
		// The version is from `go install module@version`. A plain build has "(devel)", or a
		// version made from the revision, which is shown anyway.
		if v := info.Main.Version; b.Version == "" && b.Revision == "" && strings.HasPrefix(v, "v") {
			b.Version = v
		}
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// String returns the build in one line.
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
