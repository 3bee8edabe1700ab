package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers says which packages of this module each may import: what keeps the
// server open for another log, and fsck from ever opening one for writing.
var layers = map[string][]string{
	"tcp-log-server":                              {"cli"},
	"tcp-log-server/cli":                          {"backup", "canonical", "client", "engine", "fsck", "segment", "server", "internal/access", "internal/build", "internal/legacy", "internal/metrics", "internal/reader"},
	"tcp-log-server/canonical":                    {},
	"tcp-log-server/segment":                      {},
	"tcp-log-server/engine":                       {"segment"},
	"tcp-log-server/server":                       {"canonical", "internal/nowait"},
	"tcp-log-server/fsck":                         {"canonical", "segment"},
	"tcp-log-server/backup":                       {"segment"},
	"tcp-log-server/client":                       {"canonical", "internal/nowait"},
	"tcp-log-server/internal/build":               {},
	"tcp-log-server/internal/nowait":              {},
	"tcp-log-server/internal/reader":              {"segment"},
	"tcp-log-server/internal/legacy":              {"canonical"},
	"tcp-log-server/internal/access":              {},
	"tcp-log-server/internal/metrics":             {"engine", "server"},
	"tcp-log-server/internal/metrics/metricstest": {},
	"tcp-log-server/internal/access/accesstest":   {},
	"tcp-log-server/packaging/bill":               {},
	"tcp-log-server/test/e2e":                     {},
}

// TestLayers checks the imports of every package against the list above.
func TestLayers(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		allowed, known := layers[words[0]]
		if !known {
			t.Errorf("package %s has no line in layers", words[0])
		}
		for _, imported := range words[1:] {
			short, ours := strings.CutPrefix(imported, "tcp-log-server/")
			if ours && !slices.Contains(allowed, short) {
				t.Errorf("%s imports %s, which its layer may not", words[0], imported)
			}
			if imported == "github.com/tidwall/wal" && words[0] != "tcp-log-server/segment" {
				t.Errorf("%s imports tidwall/wal, which only segment may", words[0])
			}
		}
	}
}
