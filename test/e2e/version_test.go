package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"tcp-log-server/internal/build"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tcp-log-server")
	if out, err := exec.Command("go", "build", "-ldflags", "-X tcp-log-server/internal/build.version=v9.8.7", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	output := func(args ...string) string {
		out, err := exec.Command(path, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	text := output("version")
	if !strings.HasPrefix(text, "tcp-log-server version v9.8.7 (") || !strings.Contains(text, runtime.Version()) {
		t.Errorf("version prints %q", text)
	}
	if flag := output("--version"); flag != text {
		t.Errorf("--version prints %q, version %q", flag, text)
	}
	var got build.Info
	if err := json.Unmarshal([]byte(output("version", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "v9.8.7" || got.Go != runtime.Version() || got.System != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("version --json prints %+v", got)
	}
}
