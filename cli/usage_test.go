package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// TestSplitShortFlags: one-letter flags may be written as one word, and with their value.
func TestSplitShortFlags(t *testing.T) {
	root := &cli.Command{Name: "tcp-log-server", Commands: []*cli.Command{appendCommand(), readCommand(), tailCommand()}}
	for _, tt := range []struct{ args, want string }{
		{"tail -n2", "tail -n=2"},
		{"tail -fn 1", "tail -f -n 1"},
		{"tail -fn1 host", "tail -f -n=1 host"},
		{"tail -fn=1", "tail -f -n=1"},
		{"tail -n-1", "tail -n=-1"},
		{"tail -fn -n2", "tail -f -n -n2"},
		{"tail -n -n2", "tail -n -n2"},
		{"tail --token-file -n2", "tail --token-file -n2"},
		{"tail --token-file=x -n2", "tail --token-file=x -n=2"},
		{"tail --index -index -f", "tail --index -index -f"},
		{"tail -n=2 -f=true", "tail -n=2 -f=true"},
		{"tail -n 2 -f -- -n2", "tail -n 2 -f -- -n2"},
		{"tail -fx", "tail -f -x"},
		{"tail -xf - -5", "tail -xf - -5"},
		{"tail -n", "tail -n"},
		{"read -f :80", "read -f :80"},
		{"append -q {\"-n2\":1} -n2", "append -q {\"-n2\":1} -n2"},
		{"-n2 tail", "-n2 tail"},
		{"tail", "tail"},
	} {
		args := strings.Fields("tcp-log-server " + tt.args)
		given := slices.Clone(args)
		if got := strings.Join(splitShortFlags(root, args)[1:], " "); got != tt.want {
			t.Errorf("%s becomes %s, want %s", tt.args, got, tt.want)
		}
		if !slices.Equal(args, given) {
			t.Errorf("%s: the arguments themselves have become %q", tt.args, args)
		}
	}
}

// TestCounted: one thing is counted in the singular.
func TestCounted(t *testing.T) {
	for n, want := range map[int]string{0: "0 entries", 1: "1 entry", 2: "2 entries", 1000: "1,000 entries"} {
		if got := counted(n, "entry", "entries"); got != want {
			t.Errorf("%d is counted %q, want %q", n, got, want)
		}
	}
}
