package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"tcp-log-server/cli"
)

// TestServeBackup: a server on a directory that backup made says so; one on a copy that was made
// a separate log does not. The examples of the help make such a copy, and the backup takes
// further backups.
func TestServeBackup(t *testing.T) {
	dir := t.TempDir()
	data, dest := filepath.Join(dir, "data"), filepath.Join(dir, "log")
	backUp := func(code int) result {
		t.Helper()
		r := play(t, nil, "", "backup", "--data", data, dest)
		if r.code != code {
			t.Fatalf("backup: %+v", r)
		}
		return r
	}
	appendTo := func(data string, warns bool) {
		t.Helper()
		d := launch(t, "DATA="+data)
		warned := false
		for e := range d.events {
			if e["event"] == "backup" {
				warned = true
				if text, _ := e["msg"].(string); !strings.Contains(text, filepath.Join(data, "BACKUP")) {
					t.Errorf("logged %v", e)
				}
			}
			if e["event"] == "listening" {
				d.addr = fmt.Sprintf("127.0.0.1:%v", e["port"])
				break
			}
		}
		if r := play(t, at(d.addr), "", "append", `{"to":"`+filepath.Base(data)+`"}`); r.code != 0 {
			t.Fatalf("append: %+v", r)
		}
		d.stop(t, syscall.SIGTERM)
		if warned != warns {
			t.Errorf("on %s the server warns: %v, want %v", data, warned, warns)
		}
	}
	appendTo(data, false)
	backUp(0)

	// The examples of the help.
	help := play(t, nil, "", "backup", "--help").out
	example := regexp.MustCompile(`(?m)^ +(cp -a /mnt/backup/log .*)$`).FindStringSubmatch(help)
	if example == nil || !strings.Contains(help, "DATA=restored tcp-log-server ") {
		t.Fatalf("the help of backup shows no copy:\n%s", help)
	}
	copying := exec.Command("sh", "-c", strings.ReplaceAll(example[1], "/mnt/backup/log", "log"))
	copying.Dir = dir
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", example[1], err, out)
	}
	appendTo(filepath.Join(dir, "restored"), false)
	appendTo(data, false)
	backUp(0)
	if r := play(t, nil, "", "fsck", dest); r.code != 0 || strings.Contains(r.out, "stray") {
		t.Errorf("fsck of the backup: %+v", r)
	}

	appendTo(dest, true)
	appendTo(data, false)
	if r := backUp(cli.ExitFailure); !strings.Contains(r.err, "have diverged") {
		t.Errorf("backup onto one that was appended to: %+v", r)
	}
	if err := os.Remove(filepath.Join(dest, "BACKUP")); err != nil {
		t.Fatal(err)
	}
	appendTo(dest, false)
}
