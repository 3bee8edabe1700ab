package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRenameModule renames the module in a copy of the tree. The program builds there, and the
// imports of every package, test and other module resolve.
func TestRenameModule(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"make", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s here", tool)
		}
	}
	dir := t.TempDir()
	copyTree(t, dir)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	const module = "example.org/someone/json.log"
	for range 2 { // the second time from a name with dots and slashes
		run("make", "module", "MODULE=example.com/other/name")
		run("make", "module", "MODULE="+module)
	}
	if got := strings.TrimSpace(run("go", "list", "-m")); got != module {
		t.Errorf("the module is %s, want %s", got, module)
	}
	noneLeft(t, dir)
	for _, name := range []string{"packaging/release.mk", "packaging/Dockerfile", "README.md"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), module) {
			t.Errorf("%s does not name the module %s, %v", name, module, err)
		}
	}
	if testing.Short() {
		return // the rest builds everything again
	}
	for _, of := range []string{".", "test/bench", "test/faults", "test/page"} { // all imports of all packages must resolve
		run("go", "list", "-C", of, "-deps", "-test", "./...")
	}
	run("go", "build", "-ldflags", "-X "+module+"/internal/build.version=v9.8.7", "-o", "renamed", ".")
	if got := run("./renamed", "version"); !strings.Contains(got, "v9.8.7") {
		t.Errorf("the version is %s, want v9.8.7", got)
	}
}

// noneLeft fails the test for each Go file that names a package under the module's old name.
func noneLeft(t *testing.T, dir string) {
	old := regexp.MustCompile(`[^A-Za-z0-9._/-]tcp-log-server/(cli|daemon|engine|segment|server|fsck|backup|client|canonical|internal|test|web)[^A-Za-z0-9_-]`)
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || filepath.Base(path) == "module_test.go" {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if at := old.FindIndex(b); at != nil {
			t.Errorf("%s still says %q", path, b[at[0]:at[1]])
		}
		return err
	})
	if err != nil || files < 100 {
		t.Errorf("%d files were looked at, %v", files, err)
	}
}

// copyTree copies to dir the files of the tree that name the module, or that building and vetting need.
func copyTree(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "dist" || name == "data" || strings.HasSuffix(name, ".data")) {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".mod", ".sum", ".mk", ".md", ".sh", ".s", ".html", ".css", ".js":
		default:
			if name != "Makefile" && name != "Dockerfile" && filepath.Base(filepath.Dir(path)) != "mutations" {
				return nil
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
