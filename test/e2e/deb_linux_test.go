package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDeb installs the package that DEB names below a directory, starts the
// installed server, queries, upgrades, removes and purges it. It needs dpkg and
// root; `make deb-check` makes the package and runs this test. DEB_INSTALL=1 does
// the same on the machine itself, which must not have the package.
func TestDeb(t *testing.T) {
	deb := os.Getenv("DEB")
	if deb == "" {
		t.Skip("DEB names no package; `make deb-check` makes one")
	}
	if _, err := exec.LookPath("dpkg"); err != nil || os.Getuid() != 0 {
		t.Skip("this takes dpkg and root")
	}
	t.Run("directory", func(t *testing.T) {
		root, err := os.MkdirTemp("", "tcp-log-server-deb")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(root)
		// The server runs as its own user, which must be able to reach the directory.
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		// Nothing else is installed there, not even the dependencies.
		packageLife(t, deb, root, "--root="+root, "--force-script-chrootless", "--force-depends", "--log="+filepath.Join(root, "log"))
	})
	t.Run("machine", func(t *testing.T) {
		if os.Getenv("DEB_INSTALL") != "1" {
			t.Skip("DEB_INSTALL is not 1")
		}
		for _, path := range []string{"/usr/bin/tcp-log-server", "/var/lib/tcp-log-server", "/etc/default/tcp-log-server"} {
			if _, err := os.Lstat(path); err == nil {
				t.Fatalf("%s is there already", path)
			}
		}
		defer func() {
			exec.Command("dpkg", "--purge", "tcp-log-server").Run() // in case an earlier step has failed
			os.RemoveAll("/var/lib/tcp-log-server")
			exec.Command("userdel", "tcp-log-server").Run()
		}()
		packageLife(t, deb, "/")
	})
}

// packageLife takes the package through its whole life below root.
func packageLife(t *testing.T, deb, root string, options ...string) {
	dpkg := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("dpkg", append(append([]string(nil), options...), args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	at := func(path string) string { return filepath.Join(root, path) }
	exists := func(path string, want bool) {
		t.Helper()
		if _, err := os.Lstat(at(path)); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", path, err, want)
		}
	}
	const (
		data     = "var/lib/tcp-log-server"
		defaults = "etc/default/tcp-log-server"
		enabled  = "etc/systemd/system/multi-user.target.wants/tcp-log-server.service"
	)

	// Purged before its first start, the package leaves no directory.
	dpkg("-i", deb)
	dpkg("--purge", "tcp-log-server")
	for _, path := range []string{data, defaults, enabled} {
		exists(path, false)
	}

	dpkg("-i", deb)
	for _, path := range []string{enabled, "etc/systemd/system/timers.target.wants/tcp-log-server-fsck.timer"} {
		exists(path, true)
	}
	exists("etc/systemd/system/sockets.target.wants/tcp-log-server.socket", false)
	uid, gid := systemUser(t, root)
	if info, err := os.Stat(at(data)); err != nil {
		t.Error(err)
	} else if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != gid || info.Mode().Perm() != 0o700 {
		t.Errorf("%s belongs to %d:%d, mode %v, want %d:%d and 0700", data, s.Uid, s.Gid, info.Mode(), uid, gid)
	}

	// Start the server as the unit does.
	unit, err := os.ReadFile(at("lib/systemd/system/tcp-log-server.service"))
	if err != nil {
		t.Fatal(err)
	}
	says := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=-?(\S+)$`).FindSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s=", key)
		}
		return string(m[1])
	}
	serve := func() *daemon {
		cmd := exec.Command(at(says("ExecStart")))
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		d := launchBy(t, cmd, "DATA="+at(strings.TrimPrefix(says("Environment"), "DATA=")))
		d.addr = fmt.Sprintf("127.0.0.1:%v", d.event(t, "listening")["port"])
		return d
	}
	d := serve()
	if got, want := talk(t, d.addr, `{"id":"1","entry":{"a":1}}`+"\n"), `{"id":"1","index":1}`+"\n"; got != want {
		t.Errorf("reply is %q, want %q", got, want)
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code is %d, want 0: %s", code, d.stderr.String())
	}

	// An upgrade keeps the settings and the log.
	setting := "LOG_LEVEL=warn\n"
	if err := os.WriteFile(at(defaults), []byte(setting), 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg("-i", deb)
	if b, err := os.ReadFile(at(defaults)); err != nil || string(b) != setting {
		t.Errorf("after an upgrade %s is %q, %v", defaults, b, err)
	}
	d = serve()
	if got, want := talk(t, d.addr, `{"from":1}`+"\n"), "{\"index\":1,\"entry\":{\"a\":1}}\n{\"current\":true}\n"; got != want {
		t.Errorf("after an upgrade the log reads %q, want %q", got, want)
	}
	d.stop(t, syscall.SIGTERM)
	for _, args := range [][]string{{"version"}, {"fsck", at(data)}} {
		if out, err := exec.Command(at("usr/bin/tcp-log-server"), args...).CombinedOutput(); err != nil {
			t.Errorf("tcp-log-server %s: %v\n%s", args, err, out)
		}
	}

	dpkg("--remove", "tcp-log-server")
	exists("usr/bin/tcp-log-server", false)
	exists(defaults, true)
	out := dpkg("--purge", "tcp-log-server")
	exists(defaults, false)
	exists(enabled, false)
	exists(data+"/segments/00000000000000000001.seg", true)
	if !strings.Contains(out, "is still there") {
		t.Errorf("a purge leaves the log without a word: %s", out)
	}
}

// systemUser returns the user that the package has made below root.
func systemUser(t *testing.T, root string) (uid, gid uint32) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^tcp-log-server:[^:]*:(\d+):(\d+):`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("there is no user tcp-log-server in %s", b)
	}
	u, _ := strconv.ParseUint(string(m[1]), 10, 32)
	g, _ := strconv.ParseUint(string(m[2]), 10, 32)
	if u == 0 || g == 0 {
		t.Fatal("the user tcp-log-server is root")
	}
	return uint32(u), uint32(g)
}
