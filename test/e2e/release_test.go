package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeGo is a go command that creates every output file without building anything.
const fakeGo = `#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	GOHOSTARCH) echo amd64 ;;
	-o|-bom|-licences|-t) printf '#!/bin/sh\necho "$@"\n' >"$2"; chmod +x "$2"; shift ;;
	esac
	shift
done
`

// TestReleaseOrder: make dist and make deb, in either order, leave the same files, with a checksum
// of each, and nothing from an earlier version.
func TestReleaseOrder(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"make", "sha256sum", "find"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	for _, name := range []string{"Makefile", "packaging/release.mk"} { // so that go test runs this again when one changes
		if _, err := os.ReadFile(root + name); err != nil {
			t.Fatal(err)
		}
	}
	for _, order := range [][]string{{"dist", "deb"}, {"deb", "dist"}, {"dist", "deb", "dist", "deb"}} {
		dir := t.TempDir()
		for name, text := range map[string]string{"go": fakeGo, "dist/tcp-log-server-v0-linux-amd64": "old", "dist/tcp-log-server_0_amd64.deb": "old"} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, from := range map[string]string{"Makefile": "Makefile", "packaging": "packaging"} {
			if err := os.Symlink(root+from, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, target := range order {
			cmd := exec.Command("make", target, "GO="+filepath.Join(dir, "go"), "VERSION=v1.2.3", "TARGETS=linux/amd64 windows/amd64", "SOURCE_DATE_EPOCH=1")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("make %s: %v\n%s", target, err, out)
			}
		}
		sums, err := os.ReadFile(filepath.Join(dir, "dist/SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		var summed, there []string
		for line := range strings.Lines(string(sums)) {
			summed = append(summed, strings.Fields(line)[1])
		}
		files, err := os.ReadDir(filepath.Join(dir, "dist"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Name() != "SHA256SUMS" {
				there = append(there, f.Name())
			}
		}
		slices.Sort(summed)
		if !slices.Equal(summed, there) {
			t.Errorf("%q: SHA256SUMS has %q, dist holds %q", order, summed, there)
		}
		if want := []string{"LICENCES.txt", "tcp-log-server-v1.2.3-linux-amd64", "tcp-log-server-v1.2.3-windows-amd64.exe", "tcp-log-server-v1.2.3.cdx.json", "tcp-log-server_1.2.3_amd64.deb"}; !slices.Equal(there, want) {
			t.Errorf("%q: dist holds %q, want %q", order, there, want)
		}
	}
}
