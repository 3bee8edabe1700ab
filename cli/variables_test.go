package cli

import (
	"fmt"
	"os"
	"testing"

	"github.com/urfave/cli/v3"
)

// TestVariables: each variable of each command may have the prefix, and then takes precedence
// over the one without; a flag takes precedence over both.
func TestVariables(t *testing.T) {
	commands := func() []*cli.Command {
		return []*cli.Command{serveCommand(), appendCommand(), readCommand(), tailCommand(), fsckCommand(), backupCommand(),
			statCommand(), catCommand(), importCommand()}
	}
	seen := 0
	for i, c := range commands() {
		for j, f := range c.Flags {
			doc, ok := f.(cli.DocGenerationFlag)
			if !ok || len(doc.GetEnvVars()) == 0 {
				continue
			}
			seen++
			name, values := doc.GetEnvVars()[0], []string{"7", "8", "9"}
			switch f.(type) {
			case *cli.BoolFlag:
				values = []string{"false", "true", "false"}
			case *cli.DurationFlag:
				values = []string{"7s", "8s", "9s"}
			}
			check := func(what, flag, want string) {
				t.Helper()
				f := commands()[i].Flags[j] // which has no value yet
				if flag != "" {
					f.Set(f.Names()[0], flag)
				}
				if err := f.PostParse(); err != nil || fmt.Sprint(f.Get()) != want {
					t.Errorf("%s --%s with %s: %v, %v, want %s", c.Name, f.Names()[0], what, f.Get(), err, want)
				}
			}
			t.Setenv(name, values[0])
			check("the variable", "", values[0])
			t.Setenv(variablePrefix+name, values[1])
			check("both variables", "", values[1])
			check("variables and a flag", values[2], values[2])
			os.Unsetenv(name)
			check("the prefix alone", "", values[1])
			os.Unsetenv(variablePrefix + name)
		}
	}
	if seen < 40 {
		t.Errorf("there are %d variables, want 40 or more", seen)
	}
}

// TestHostOrigin: an error about a useless host names the variable that it is from.
func TestHostOrigin(t *testing.T) {
	t.Setenv("HOST", "x86_64-conda-linux-gnu")
	if got, want := hostOrigin("x86_64-conda-linux-gnu"), "; it is from the variable HOST, which other programs set too: set TCP_LOG_HOST, which wins"; got != want {
		t.Errorf("the advice is %q, want %q", got, want)
	}
	if got := hostOrigin("log.example"); got != "" {
		t.Errorf("the advice on another host is %q", got)
	}
	t.Setenv("HOST", "a b")
	if _, err := serverAddress(""); err == nil || err.Error() != `"a b" is not an address; it is from the variable HOST, which other programs set too: set TCP_LOG_HOST, which wins` {
		t.Errorf("the error is %v", err)
	}
	t.Setenv("TCP_LOG_HOST", "log.example")
	t.Setenv("TCP_LOG_PORT", "9001")
	if got, err := serverAddress(""); got != "log.example:9001" || err != nil {
		t.Errorf("the address is %s, %v", got, err)
	}
}
