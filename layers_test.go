package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers says which packages of this module each may import: what keeps the
// server open for another log, and fsck from ever opening one for writing.
var layers = map[string][]string{
	"tcp-log-server/canonical":           {},
	"tcp-log-server/nowait":              {},
	"tcp-log-server/segment":             {},
	"tcp-log-server/engine":              {"segment"},
	"tcp-log-server/server":              {"canonical", "nowait"},
	"tcp-log-server/fsck":                {"canonical", "segment"},
	"tcp-log-server/backup":              {"segment"},
	"tcp-log-server/client":              {"canonical", "nowait"},
	"tcp-log-server/reader":              {"segment"},
	"tcp-log-server/legacy":              {"canonical"},
	"tcp-log-server/access":              {},
	"tcp-log-server/metrics":             {"engine", "server"},
	"tcp-log-server/metrics/metricstest": {},
	"tcp-log-server/access/accesstest":   {},
	"tcp-log-server/packaging/bill":      {},
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
		if words[0] == "tcp-log-server" {
			continue
		}
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
