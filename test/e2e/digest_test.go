package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDigestElsewhere runs the two crontab lines of docs/OPERATIONS.md while a server runs. The check
// prints nothing while the log grows, but does once an older copy has taken its place.
func TestDigestElsewhere(t *testing.T) {
	for _, tool := range []string{"sh", "jq", "tail", "grep"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("<!-- digest -->\n```sh\n(.*)\n(.*)\n```").FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/OPERATIONS.md has no two lines for a digest kept elsewhere")
	}
	dir := t.TempDir()
	data, older := filepath.Join(dir, "log"), filepath.Join(dir, "older")
	cron := func(line []byte) string {
		t.Helper()
		command := regexp.MustCompile(`^(\S+ +){5}`).ReplaceAllString(string(line), "")
		command = strings.NewReplacer("/var/lib/log", data, "/mnt/elsewhere", dir).Replace(command)
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	d := start(t, "DATA="+data)
	add := func(entries, settled string) {
		t.Helper()
		if r := play(t, at(d.addr), entries, "append", "--quiet"); r.code != 0 {
			t.Fatalf("append: %+v", r)
		}
		for deadline := time.Now().Add(30 * time.Second); ; {
			r := play(t, nil, "", "stat", "--json", data)
			if strings.Contains(r.out, `"settled":`+settled+`,`) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("settled is not %s in time: %+v", settled, r)
			}
		}
	}
	add("[1][2]", "2")
	if r := play(t, nil, "", "backup", "--data", data, older); r.code != 0 {
		t.Fatalf("backup: %+v", r)
	}
	add("[3]", "3")
	cron(m[1])
	add("[4]", "4")
	if out := cron(m[2]); out != "" {
		t.Errorf("of a log that has grown the check prints\n%s", out)
	}
	d.stop(t, syscall.SIGTERM)
	if err := os.Rename(data, filepath.Join(dir, "newer")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, data); err != nil {
		t.Fatal(err)
	}
	if out := cron(m[2]); !strings.Contains(out, "entries 1 to 3 of "+data+" do not have the digest ") {
		t.Errorf("of an older copy the check prints\n%s", out)
	}
	// A copy that has diverged has as many entries, but different ones.
	d = start(t, "DATA="+data)
	add("[5][6]", "4")
	if out := cron(m[2]); !strings.Contains(out, "do not have the digest ") {
		t.Errorf("of a log that has gone another way the check prints\n%s", out)
	}
}
