package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// commandNames are the commands of the program.
func commandNames(t *testing.T) []string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(path, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(help), "COMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	if !ok {
		t.Fatalf("the help lists no commands:\n%s", help)
	}
	var names []string
	for line := range strings.Lines(list) {
		names = append(names, strings.TrimSuffix(strings.Fields(line)[0], ","))
	}
	return names
}

// TestUnits: the units run the installed program, and use only features that it
// has.
func TestUnits(t *testing.T) {
	files := packaged(t)
	units, err := filepath.Glob(root + "packaging/systemd/*.*")
	if err != nil || len(units) != 7 {
		t.Fatal(units, err)
	}
	for _, name := range units {
		if ext := filepath.Ext(name); ext == ".conf" || ext == ".sh" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if dst := "/lib/systemd/system/" + filepath.Base(name); root+files[dst] != name {
			t.Errorf("the package has %q as %s, want %s", files[dst], dst, name)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:ExecStart|EnvironmentFile)=-?(\S+)(.*)`).FindAllStringSubmatch(string(b), -1) {
			if files[m[1]] == "" {
				t.Errorf("%s names %s, which the package does not install", name, m[1])
			}
			if words := strings.Fields(m[2]); len(words) > 0 && !slices.Contains(commandNames(t), words[0]) {
				t.Errorf("%s runs `%s`, and there is no such command", name, words[0])
			}
		}
	}
}

// packaged returns the files of the Debian package: by destination, their
// source.
func packaged(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(root + "packaging/deb/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^  - src: (\S+)\n    dst: (\S+)$`).FindAllStringSubmatch(string(b), -1) {
		files[m[2]] = m[1]
	}
	for _, m := range regexp.MustCompile(`(?m)^  (?:postinstall|preremove|postremove): (\S+)$`).FindAllStringSubmatch(string(b), -1) {
		files[m[1]] = m[1]
	}
	return files
}

// TestPackageFiles: every file of the package exists, or is made for it.
func TestPackageFiles(t *testing.T) {
	mk, err := os.ReadFile(root + "packaging/release.mk")
	if err != nil {
		t.Fatal(err)
	}
	files := packaged(t)
	if len(files) < 20 {
		t.Errorf("the package has %d files, want 20 or more: %v", len(files), files)
	}
	for dst, src := range files {
		if made, ok := strings.CutPrefix(src, "${STAGE}/"); ok {
			made = strings.NewReplacer("completion.bash", "completion.$$shell", "completion.zsh", "completion.$$shell", "completion.fish", "completion.$$shell").Replace(made)
			if !strings.Contains(string(mk), "$(STAGE)/"+made) {
				t.Errorf("nothing makes %s for %s", src, dst)
			}
			continue
		}
		if found, err := filepath.Glob(src); err != nil || len(found) == 0 {
			t.Errorf("%s for %s does not exist", src, dst)
		}
	}
	// A file without an explicit mode would have that of the checkout.
	b, err := os.ReadFile(root + "packaging/deb/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(b), "file_info: {mode: 0"), strings.Count(string(b), "  - src: "); got != want {
		t.Errorf("%d files have a mode, want %d", got, want)
	}
}

// TestConfinement asks systemd how well the units confine the server; see
// docs/OPERATIONS.md.
func TestConfinement(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	if out, err := exec.Command(analyze, "security", "--help").CombinedOutput(); err != nil || !strings.Contains(string(out), "--offline") {
		t.Skip("this systemd-analyze cannot rate a file")
	}
	docs, err := os.ReadFile(root + "docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, bound := range map[string]float64{"tcp-log-server.service": 1.2, "tcp-log-server-fsck.service": 0.6} {
		path, err := filepath.Abs(filepath.Join(root, "packaging/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(path); err != nil { // so that go test runs this again when it changes
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", path).CombinedOutput()
		m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("systemd-analyze: %v\n%s", err, out)
		}
		if score, err := strconv.ParseFloat(string(m[1]), 64); err != nil || score > bound {
			t.Errorf("%s is exposed by %s, want %.1f or less\n%s", name, m[1], bound, out)
		}
		if want := fmt.Sprintf("%.1f", bound); !strings.Contains(string(docs), want) {
			t.Errorf("docs/OPERATIONS.md does not note %s for %s", want, name)
		}
	}
}

// TestDockerfile checks what can be checked without an engine: that the image runs the
// program as an unprivileged user, and that its context has the files to build it from.
func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile(root + "packaging/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(string(b), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	_, final, ok := strings.Cut(text, "FROM scratch\n")
	if !ok {
		t.Fatal("the last stage is not from scratch")
	}
	// The last of each instruction in the last stage.
	last := make(map[string]string)
	for line := range strings.Lines(final) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		last[word] = strings.TrimSpace(rest)
	}
	user, group, _ := strings.Cut(last["USER"], ":")
	for _, id := range []string{user, group} {
		if n, err := strconv.Atoi(id); err != nil || n == 0 {
			t.Errorf("USER is %q, want two numbers other than 0: the image has no /etc/passwd", last["USER"])
		}
	}
	variables := make(map[string]string)
	for _, word := range strings.Fields(last["ENV"]) {
		name, value, _ := strings.Cut(word, "=")
		variables[name] = value
	}
	defaults, err := os.ReadFile(root + "packaging/default") // other tests compare it with the settings
	if err != nil {
		t.Fatal(err)
	}
	for name := range variables {
		if !strings.Contains(string(defaults), "\n#"+name+"=") {
			t.Errorf("ENV sets %s, and there is no such setting", name)
		}
	}
	if last["VOLUME"] != variables["DATA"] || !strings.Contains(final, "--chown="+last["USER"]+" --chmod=0700 /out/data "+variables["DATA"]+"\n") {
		t.Errorf("VOLUME is %q, and DATA %q: want one directory that belongs to the user", last["VOLUME"], variables["DATA"])
	}
	if last["EXPOSE"] != variables["PORT"] {
		t.Errorf("EXPOSE is %q, PORT %q", last["EXPOSE"], variables["PORT"])
	}
	if last["ENTRYPOINT"] != `["/tcp-log-server"]` || !strings.Contains(final, "/out/tcp-log-server /out/LICENCES.txt /\n") {
		t.Errorf("ENTRYPOINT is %s, which is not what is copied", last["ENTRYPOINT"])
	}
	_, command, _ := strings.Cut(last["HEALTHCHECK"], " CMD ")
	m := regexp.MustCompile(`^\["/tcp-log-server", "(\w+)"`).FindStringSubmatch(command)
	if m == nil || !slices.Contains(commandNames(t), m[1]) {
		t.Errorf("HEALTHCHECK runs %s, want a command of the program in the form without a shell", command)
	}
	module, err := os.ReadFile(root + "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(module)
	if !strings.Contains(text, fmt.Sprintf("golang:%s AS build", version[1])) {
		t.Errorf("the image is not built by Go %s, which go.mod wants", version[1])
	}
}

// TestLicence: the licence is MIT, and everything that is distributed says so and contains it.
func TestLicence(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	licence, err := os.ReadFile(root + "LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	bom, licences := filepath.Join(t.TempDir(), "bom"), filepath.Join(t.TempDir(), "licences")
	if out, err := exec.Command("go", "run", "./packaging/bill", "-version", "v1.2.3", "-bom", bom, "-licences", licences, path).CombinedOutput(); err != nil {
		t.Fatalf("bill: %v\n%s", err, out)
	}
	for name, want := range map[string]string{
		root + "LICENSE":                 "MIT License\n\nCopyright (c) The tcp-log-server authors\n",
		licences:                         strings.TrimSpace(string(licence)),
		bom:                              `"id": "MIT"`,
		root + "packaging/deb/copyright": "MIT",
		root + "packaging/deb/nfpm.yaml": "\nlicense: MIT\n",
		root + "packaging/Dockerfile":    "org.opencontainers.image.licenses=MIT",
	} {
		if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s has no %q, %v", name, want, err)
		}
	}
}
