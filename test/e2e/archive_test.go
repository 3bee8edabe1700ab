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

// TestDocumentedArchive runs the commands of docs/COPIES.md for an archive, in their order, with a
// directory as the bucket.
func TestDocumentedArchive(t *testing.T) {
	for _, tool := range []string{"sh", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "docs/COPIES.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	block := func(name string) string {
		t.Helper()
		m := regexp.MustCompile("(?s)<!-- archive: " + name + " -->\n```sh\n(.*?)```").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/COPIES.md has no block %q", name)
		}
		return strings.ReplaceAll(string(m[1]), "s3://backups/log", "file://"+filepath.ToSlash(filepath.Join(dir, "bucket")))
	}
	// serve runs a script, whose last line starts a server.
	serve := func(script string) *daemon {
		lines := strings.Split(strings.TrimSpace(script), "\n")
		env := strings.Fields(lines[len(lines)-1])
		env = env[:len(env)-1]
		for i, v := range env {
			if name, ok := strings.CutPrefix(v, "DATA="); ok {
				env[i] = "DATA=" + filepath.Join(dir, name)
			}
		}
		return start(t, env...)
	}
	run := func(addr, name string) string {
		t.Helper()
		_, port, _ := strings.Cut(addr, ":")
		cmd := exec.Command("sh", "-c", "set -e\n"+block(name))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOST=127.0.0.1", "PORT="+port, "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	d := serve(block("serve"))
	talk(t, d.addr, "{\"id\":\"1\",\"entry\":{\"n\":1}}\n{\"id\":\"2\",\"entry\":{\"n\":2}}\n{\"id\":\"3\",\"entry\":{\"n\":3}}\n")
	archived := func(d *daemon, want string) {
		t.Helper()
		for began := time.Now(); run(d.addr, "watch") != want; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatal("the archive does not follow the log")
			}
		}
	}
	archived(d, "[3,0]\n")
	look := run("", "look")
	if !strings.HasPrefix(look, "{\"index\":3,\"entry\":{\"n\":3}}\ndigest ") {
		t.Errorf("the archive has %q", look)
	}
	digest := strings.Fields(look)[2]
	// One block restores the log as of a second ago.
	for began := time.Now(); !strings.Contains(play(t, nil, "", "cat", "--until", "1s", "file://"+filepath.ToSlash(filepath.Join(dir, "bucket"))).out, `"index":3`); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("no entry is a second old")
		}
	}
	if out := run("", "restore"); !strings.HasSuffix(out, "\n"+digest+"\n") || strings.Count(out, "head 3") != 2 || !strings.Contains(out, "head 2") || strings.Count(out, "\ndigest ") != 3 {
		t.Errorf("the restores print %s, want digest %s at the end", out, digest)
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	over := strings.SplitAfterN(block("over"), "\n", 2)
	if r := play(t, nil, "", strings.Fields(strings.TrimPrefix(strings.TrimSpace(strings.Replace(over[0], " new", " "+filepath.Join(dir, "new"), 1)), "tcp-log-server "))...); r.code != 0 {
		t.Fatalf("restore: %+v", r)
	}
	d = serve(over[1])
	talk(t, d.addr, "{\"id\":\"4\",\"entry\":{\"n\":4}}\n")
	d.stop(t, syscall.SIGTERM) // which archives the new entries
	if r := play(t, nil, "", "cat", "--last", "1", "file://"+filepath.ToSlash(filepath.Join(dir, "bucket"))); r.out != "{\"index\":4,\"entry\":{\"n\":4}}\n" {
		t.Errorf("after the new server has ended: %+v", r)
	}
}

// TestCatOfAnArchiveThatLacksAnObject: cat does not silently omit the entries after a gap.
func TestCatOfAnArchiveThatLacksAnObject(t *testing.T) {
	dir := t.TempDir()
	bucket := filepath.Join(dir, "bucket")
	if err := os.Mkdir(bucket, 0o700); err != nil {
		t.Fatal(err)
	}
	url := "file://" + filepath.ToSlash(bucket)
	for range 3 { // each archives one entry when it stops
		d := start(t, "DATA="+filepath.Join(dir, "log"), "ARCHIVE="+url)
		talk(t, d.addr, `{"id":"1","entry":{}}`+"\n")
		d.stop(t, syscall.SIGTERM)
	}
	objects, err := filepath.Glob(filepath.Join(bucket, "open", "*"))
	if err != nil || len(objects) != 3 {
		t.Fatalf("the archive has %v, %v, want three increments", objects, err)
	}
	if err := os.Remove(objects[1]); err != nil {
		t.Fatal(err)
	}
	const first = `{"index":1,"entry":{}}` + "\n"
	if r := play(t, nil, "", "cat", url); r.code != 2 || r.out != first || !strings.Contains(r.err, filepath.Base(objects[2])) || !strings.Contains(r.err, "fsck "+url) {
		t.Errorf("without the second of three increments: %+v", r)
	}
	if r := play(t, nil, "", "cat", "--through", "1", url); r.code != 0 || r.out != first {
		t.Errorf("the first entry alone: %+v", r)
	}
}
