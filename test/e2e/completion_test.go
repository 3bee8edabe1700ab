package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// helped returns the names of the flags that the help of each command shows, by
// the command's name, "" for the program itself.
func helped(t *testing.T) map[string][]string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`(?m)^   (-.*?)(  |$)`)
	of := func(args ...string) (string, []string) {
		out, err := exec.Command(path, append(args, "--help")...).Output()
		if err != nil {
			t.Fatalf("%v --help: %v", args, err)
		}
		var names []string
		_, shown, _ := strings.Cut(string(out), "\nFLAGS:\n")
		for _, m := range flag.FindAllStringSubmatch(shown, -1) {
			for word := range strings.FieldsSeq(m[1]) {
				if strings.HasPrefix(word, "-") {
					names = append(names, strings.TrimSuffix(word, ","))
				}
			}
		}
		return string(out), names
	}
	text, own := of()
	all := map[string][]string{"": own}
	_, commands, _ := strings.Cut(text, "COMMANDS:\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	for _, m := range regexp.MustCompile(`(?m)^   ([a-z]+)`).FindAllStringSubmatch(commands, -1) {
		if m[1] != "help" {
			_, all[m[1]] = of(m[1])
		}
	}
	if len(all) < 6 || len(all[""]) < 10 || len(all["cat"]) < 7 {
		t.Fatalf("the help shows %v", all)
	}
	return all
}

// scriptFile writes the completion script of a shell and returns its path.
func scriptFile(t *testing.T, shell string) string {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skipf("there is no %s here", shell)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	script, err := exec.Command(path, "completion", shell).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "_tcp-log-server")
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// shellRun runs a script in a directory that holds the directory store and the
// file notes, with one more variable in its environment.
func shellRun(t *testing.T, env string, command ...string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env, "HOME="+dir, "TERM=dumb")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s", command, err, stderr.String())
	}
	return strings.Fields(string(out))
}

// completionCases have a typed line, with the cursor at its end, and the words that
// must be offered or, after a minus, must not be.
var completionCases = []struct {
	typed string
	want  []string
}{
	{"", []string{"cat", "fsck", "backup", "version", "-notes"}},
	{"ca", []string{"cat", "-fsck"}},
	{"--lo", []string{"--loose-max", "--log-level", "-cat", "---port"}},
	{"cat --", []string{"--from", "--count", "--entry", "--help", "---port"}},
	{"cat ", []string{"store", "-notes", "-cat"}},
	{"cat --data ", []string{"store", "-notes"}},
	{"cat --entry st", []string{"store"}},
	{"--log-level ", []string{"debug", "silent", "-store"}},
	{"append --on-error ", []string{"stop", "continue", "-store", "-notes"}},
	{"completion ", []string{"bash", "zsh", "fish", "-store"}},
	{"cat --from ", []string{"-store", "-notes", "---from"}},
}

// unwanted returns the words of completionCases that must not be offered.
func unwanted(word string) (string, bool) {
	if rest, cut := strings.CutPrefix(word, "-"); cut && (!strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "--")) {
		return rest, true
	}
	return word, false
}

func checkOffered(t *testing.T, typed string, offered, want []string) {
	t.Helper()
	for i, word := range offered { // as the shells mark a directory
		offered[i] = strings.TrimSuffix(word, "/")
	}
	for _, word := range want {
		word, no := unwanted(word)
		if slices.Contains(offered, word) == no {
			t.Errorf("%q offers %q, want %q", typed, offered, want)
		}
	}
}

func TestBashCompletion(t *testing.T) {
	script := scriptFile(t, "bash")
	offered := func(words ...string) []string {
		return shellRun(t, "SCRIPT="+script, append([]string{"bash", "--norc", "-c",
			`source "$SCRIPT"; COMP_WORDS=(tcp-log-server "$@"); COMP_CWORD=$#; _tcp_log_server; printf '%s\n' "${COMPREPLY[@]}"`, "bash"}, words...)...)
	}
	for _, tt := range completionCases {
		checkOffered(t, tt.typed, offered(strings.Split(tt.typed, " ")...), tt.want)
	}
	checkOffered(t, "cat --data=", offered("cat", "--data", "="), []string{"store", "-notes"})
	checkOffered(t, "cat --data=st", offered("cat", "--data", "=", "st"), []string{"store"})
	// Exactly the flags that the help shows.
	for command, flags := range helped(t) {
		words := []string{command, "-"}
		if command == "" {
			words = words[1:]
		} else if !slices.Contains(offered(""), command) {
			t.Errorf("the command %s is not offered", command)
		}
		got := offered(words...)
		slices.Sort(got)
		slices.Sort(flags)
		if !slices.Equal(got, flags) {
			t.Errorf("the flags of %q are\n%q, the help shows\n%q", command, got, flags)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	script := scriptFile(t, "fish")
	for _, tt := range completionCases {
		t.Setenv("TYPED", tt.typed)
		offered := shellRun(t, "SCRIPT="+script, "fish", "--no-config", "-c", `source $SCRIPT; complete -C "tcp-log-server $TYPED" | string replace -r '\t.*' ''; true`)
		checkOffered(t, tt.typed, offered, tt.want)
	}
}

// TestZshCompletion: zsh accepts the script and registers it for the program, and
// its completion of a line names every command. Its line editor draws the offers,
// and no script can read those, so the test compares the specifications themselves
// with the commands' flags.
func TestZshCompletion(t *testing.T) {
	script := scriptFile(t, "zsh")
	registered := shellRun(t, "SCRIPT="+script, "zsh", "-f", "-c", `autoload -Uz compinit; compinit -u -D; source $SCRIPT; print -r -- $_comps[tcp-log-server]; whence -w _tcp-log-server`)
	if got := strings.Join(registered, " "); got != "_tcp-log-server _tcp-log-server: function" {
		t.Errorf("zsh has registered %q", got)
	}
	shellRun(t, "SCRIPT="+script, "zsh", "-f", "-n", script)
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range helped(t) {
		if name != "" && !strings.Contains(string(b), "\n    '"+name+":") {
			t.Errorf("the command %q is not in the script", name)
		}
		for _, flag := range flags {
			if !regexp.MustCompile(regexp.QuoteMeta(flag) + `[-+=\[')}, ]`).Match(b) {
				t.Errorf("%s %s is not in the script", name, flag)
			}
		}
	}
}
