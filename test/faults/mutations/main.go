// Command mutations breaks the server on purpose, one line at a time, and checks whether
// a test fails. A mutation that survives shows a missing test.
//
//	go run ./mutations            all of mutations.txt
//	go run ./mutations -run sync  those with matching names
//
// It works on a copy of the tree. The exit code is 1 if a mutation survived, or no longer
// fits this tree.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed mutations.txt
var list string

// limit bounds the time of one command: a mutation can make a test wait forever.
const limit = 5 * time.Minute

func main() {
	tree := flag.String("tree", "../..", "root of the tree to mutate")
	pattern := flag.String("run", "", "regular expression of the names to run")
	verbose := flag.Bool("v", false, "show how each mutation was killed")
	flag.Parse()
	code, err := run(*tree, *pattern, *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutations:", err)
		code = 1
	}
	os.Exit(code)
}

// run runs the mutations and prints the result of each.
func run(tree, pattern string, verbose bool) (code int, err error) {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return 1, err
	}
	mutations, err := parse(list)
	if err != nil {
		return 1, err
	}
	// All of them must fit this tree before the first one runs.
	var broken []error
	for _, m := range mutations {
		if _, err := m.apply(tree); err != nil {
			broken = append(broken, err)
		}
	}
	if len(broken) > 0 {
		return 1, errors.Join(broken...)
	}
	dir, err := os.MkdirTemp("", "mutations")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(dir, tree); err != nil {
		return 1, err
	}
	whole := &baseline{dir: dir, passed: make(map[string]bool)}
	killed, survived := 0, 0
	for _, m := range mutations {
		if !wanted.MatchString(m.name) {
			continue
		}
		began := time.Now()
		by, out, err := m.try(dir, whole)
		if err != nil {
			broken = append(broken, err)
			fmt.Printf("broken              %s (%s): %v\n", m.name, m.file, err)
			continue
		}
		took := time.Since(began).Seconds()
		if by == "" {
			survived++
			fmt.Printf("SURVIVED  %6.1fs  %s (%s)\n", took, m.name, m.file)
			continue
		}
		killed++
		fmt.Printf("killed    %6.1fs  %s (%s) by %s\n", took, m.name, m.file, by)
		if verbose {
			fmt.Println(out)
		}
	}
	fmt.Printf("%d killed, %d survived\n", killed, survived)
	if survived > 0 {
		code = 1
	}
	return code, errors.Join(broken...)
}

// everything lists the commands to run if the named test does not fail.
var everything = []string{"go test -count=1 ./segment ./engine ./server/... ./canonical", "go test -count=1 . ./fsck ./backup ./client",
	"go test -count=1 ./archive ./internal/..."}

// baseline runs the tests without a mutation: a test that fails then proves nothing.
type baseline struct {
	dir    string
	passed map[string]bool // by command
}

// passes runs a command once. The error says that it fails, or that it tests nothing.
func (b *baseline) passes(test string) error {
	if b.passed[test] {
		return nil
	}
	out, failed := command(b.dir, test)
	if failed {
		return fmt.Errorf("%s fails without any mutation:\n%s", test, out)
	}
	if strings.Contains(out, "no tests to run") {
		return fmt.Errorf("%s runs no test", test)
	}
	b.passed[test] = true
	return nil
}

// try applies the mutation to the copy in dir, runs its test and then all others until
// one fails, and reverts it. by is the command that failed, or "".
func (m mutation) try(dir string, whole *baseline) (by, out string, err error) {
	path := filepath.Join(dir, m.file)
	was, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	mutated, err := m.apply(dir)
	if err != nil {
		return "", "", err
	}
	if err := whole.passes(m.test); err != nil {
		return "", "", fmt.Errorf("%s: %w", m.name, err)
	}
	if err := os.WriteFile(path, mutated, 0o600); err != nil {
		return "", "", err
	}
	undo := func() error { return os.WriteFile(path, was, 0o600) }
	// A mutation that does not build would fail any test, which proves nothing.
	if out, failed := command(dir, "go build ./"+filepath.ToSlash(filepath.Dir(m.file))); failed {
		return "", "", errors.Join(fmt.Errorf("%s: it does not build:\n%s", m.name, out), undo())
	}
	for _, test := range append([]string{m.test}, everything...) {
		if out, failed := command(dir, test); failed {
			if err := undo(); err != nil {
				return "", "", err
			}
			if err := whole.passes(test); err != nil {
				return "", "", fmt.Errorf("%s: %w", m.name, err)
			}
			return test, out, nil
		}
	}
	return "", "", undo()
}

// command runs a command line in dir and reports whether it failed.
func command(dir, line string) (out string, failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	group(cmd)
	b, err := cmd.CombinedOutput()
	return string(b), err != nil
}

// copyTree copies a tree without its history and built files.
func copyTree(dst, src string) error {
	return filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch name := e.Name(); {
		case e.IsDir() && (name == ".git" || name == "node_modules" || name == "dist" || strings.HasSuffix(name, ".data")):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(to, 0o700)
		case !e.Type().IsRegular() || name == "tcp-log-server":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, fi.Mode().Perm())
	})
}
