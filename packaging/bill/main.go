// Command bill writes the files that accompany the binaries of a release: a bill of materials
// (CycloneDX, JSON) of the modules that are linked into them, and the licences of tcp-log-server
// and of those modules, which must accompany each copy.
//
// It reads the modules from the binaries, where the linker has recorded them, so it lists what they
// contain and not what the sources ask for. The same binaries give the same bytes: the bill has no
// time and no random number in it.
//
//	bill -version v1.2.3 -bom FILE -licences FILE BINARY…
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	version := flag.String("version", "", "of the release")
	bomFile := flag.String("bom", "", "where to write the bill of materials")
	licencesFile := flag.String("licences", "", "where to write the licences")
	flag.Parse()
	if err := run(*version, *bomFile, *licencesFile, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bill:", err)
		os.Exit(1)
	}
}

func run(version, bomFile, licencesFile string, paths []string) error {
	if version == "" || len(paths) == 0 {
		return errors.New("want -version and one binary or more")
	}
	r := release{version: version}
	for _, path := range paths {
		if err := r.add(path); err != nil {
			return err
		}
	}
	if bomFile != "" {
		b, err := json.MarshalIndent(r.bom(), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(bomFile, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if licencesFile == "" {
		return nil
	}
	text, err := r.licences()
	if err != nil {
		return err
	}
	return os.WriteFile(licencesFile, []byte(text), 0o644)
}

// module is a module that is linked into a binary.
type module struct{ path, version, sum string }

// release is a set of binaries of one version.
type release struct {
	version  string
	binaries []binary
	modules  []module // of all binaries, each once, by path
	goes     string   // the version of Go
}

// add reads a binary.
func (r *release) add(path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	if r.goes == "" {
		r.goes = info.GoVersion
	}
	if r.goes != info.GoVersion {
		return fmt.Errorf("%s was built by %s, and those before it by %s: build them again", path, info.GoVersion, r.goes)
	}
	b := binary{name: filepath.Base(path), modules: []module{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}}
	if b.sum, err = sum(path); err != nil {
		return err
	}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		if dep.Sum == "" {
			return fmt.Errorf("%s: module %s %s has no checksum, so others cannot download it", path, dep.Path, dep.Version)
		}
		b.modules = append(b.modules, module{dep.Path, dep.Version, dep.Sum})
	}
	for _, m := range b.modules {
		if !slices.Contains(r.modules, m) {
			r.modules = append(r.modules, m)
		}
	}
	slices.SortFunc(r.modules, func(a, b module) int { return strings.Compare(a.path+"@"+a.version, b.path+"@"+b.version) })
	r.binaries = append(r.binaries, b)
	return nil
}

// licences is the text of the licences of the program and of all modules.
func (r *release) licences() (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "tcp-log-server %s is under the first of these licences (%s). It contains the following\nmodules, each under the licence after its name.\n", r.version, ownLicence)
	own, err := (module{path: "main"}).dir()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(own, "LICENSE"))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&text, "\n%s\ntcp-log-server %s, LICENSE\n\n%s\n", strings.Repeat("-", 72), r.version, strings.TrimSpace(string(b)))
	for _, m := range r.modules {
		dir, err := m.dir()
		if err != nil {
			return "", err
		}
		var names []string
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*", "PATENTS*"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return "", err
			}
			names = append(names, found...)
		}
		if len(names) == 0 {
			return "", fmt.Errorf("module %s has no licence in %s: it cannot be distributed", m.path, dir)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&text, "\n%s\n%s %s, %s\n\n%s\n", strings.Repeat("-", 72), m.path, m.version, filepath.Base(name), strings.TrimSpace(string(b)))
		}
	}
	return text.String(), nil
}

// dir is the directory of the sources of a module.
func (m module) dir() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", m.path)
	switch m.path {
	case "std":
		cmd = exec.Command("go", "env", "GOROOT")
	case "main": // the one in the current directory
		cmd = exec.Command("go", "list", "-m", "-f", "{{.Dir}}")
	}
	out, err := cmd.Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("the sources of %s are not here: run `go mod download`", m.path)
}
