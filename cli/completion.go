package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"tcp-log-server/daemon"
)

// urfave/cli can make completion scripts too, but they run this program through eval at each Tab and
// do not complete values of flags, which ours do; TestBashCompletion and the others define what is
// wanted.

// completionCommand is `tcp-log-server completion`. The scripts are made from the commands and flags
// and need nothing else at completion time: no other scripts, and no run of this program.
func completionCommand() *cli.Command {
	scripts := map[string]func(io.Writer, []commandDoc) error{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	return &cli.Command{
		Name:  "completion",
		Usage: "print the script that completes commands and flags in bash, zsh or fish",
		Description: "Examples:\n" +
			"   source <(tcp-log-server completion bash)      # in ~/.bashrc\n" +
			"   source <(tcp-log-server completion zsh)       # in ~/.zshrc\n" +
			"   tcp-log-server completion zsh > ~/.zfunc/_tcp-log-server    # or in $fpath\n" +
			"   cd ~/.config/fish/completions\n" +
			"   tcp-log-server completion fish > tcp-log-server.fish",
		ArgsUsage: "bash|zsh|fish",
		Action: action(func(_ context.Context, cmd *cli.Command) error {
			script := scripts[cmd.Args().First()]
			if cmd.NArg() != 1 || script == nil {
				return usageError(cmd, "want one of "+strings.Join(slices.Sorted(maps.Keys(scripts)), ", "))
			}
			return script(os.Stdout, documented(cmd.Root()))
		}),
	}
}

// commandDoc is the description of a command in the completion scripts and the manual page.
type commandDoc struct {
	name        string // "" for the program itself
	usage       string
	args        string // the arguments, as in the help
	description string
	flags       []flagDoc
}

// flagDoc is their description of a flag.
type flagDoc struct {
	names []string // with their hyphens
	usage string
	value string // the name of its value, "" if it takes none
	def   string // its default, "" if none is shown
	env   []string
}

// documented describes the program itself and then its visible commands by name.
func documented(root *cli.Command) []commandDoc {
	docs := []commandDoc{describe(root, "")}
	for _, c := range root.Commands {
		if !c.Hidden && c.Name != "help" {
			docs = append(docs, describe(c, c.Name))
		}
	}
	slices.SortFunc(docs, func(a, b commandDoc) int { return strings.Compare(a.name, b.name) })
	return docs
}

func describe(c *cli.Command, name string) commandDoc {
	d := commandDoc{name: name, usage: c.Usage, args: strings.TrimSpace(c.ArgsUsage), description: c.Description}
	for _, f := range c.Flags {
		doc, ok := f.(cli.DocGenerationFlag)
		if v, is := f.(cli.VisibleFlag); !ok || is && !v.IsVisible() || slices.Contains(f.Names(), "help") {
			continue
		}
		flag := flagDoc{usage: doc.GetUsage(), env: doc.GetEnvVars()}
		for _, n := range f.Names() {
			flag.names = append(flag.names, strings.Repeat("-", min(len(n), 2))+n)
		}
		if before, value, ok := strings.Cut(flag.usage, "`"); ok {
			value, after, _ := strings.Cut(value, "`")
			flag.usage, flag.value = before+value+after, value
		}
		if doc.TakesValue() {
			if flag.value == "" {
				flag.value = "value"
			}
			if doc.IsDefaultVisible() {
				if flag.def = doc.GetDefaultText(); flag.def == "" {
					flag.def = doc.GetValue()
				}
			}
		} else {
			flag.value = ""
		}
		d.flags = append(d.flags, flag)
	}
	d.flags = append(d.flags, flagDoc{names: []string{"--help", "-h"}, usage: "show help"})
	return d
}

// values returns the completions for the value of a flag: a list of words, or directories, or files.
func (f flagDoc) values() (words []string, kind string) {
	switch {
	case f.value == "directory":
		return nil, "directories"
	case f.value == "file":
		return nil, "files"
	case f.names[0] == "--log-level":
		return daemon.LevelNames(), ""
	}
	return choices(f.value), ""
}

// choices returns the words of a|b|c.
func choices(s string) []string {
	if words := strings.Split(s, "|"); len(words) > 1 && strings.ToLower(s) == s {
		return words
	}
	return nil
}

// arguments returns the completions for the arguments of a command.
func (d commandDoc) arguments() (words []string, kind string) {
	if strings.Contains(d.args, "DIR") || strings.Contains(d.args, "DEST") {
		return nil, "directories"
	}
	first, _, _ := strings.Cut(d.args, " ")
	return choices(first), ""
}

func bashScript(w io.Writer, docs []commandDoc) error {
	var commands []string
	var values, flags, args strings.Builder
	compgen := func(words []string, kind string) string {
		switch {
		case kind != "":
			return fmt.Sprintf("compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -%s -- \"$cur\"))", kind[:1])
		case len(words) > 0:
			return fmt.Sprintf("COMPREPLY=($(compgen -W $'%s' -- \"$cur\"))", strings.Join(words, `\n`))
		}
		return "COMPREPLY=()"
	}
	for _, d := range docs {
		if d.name != "" {
			commands = append(commands, d.name)
		}
		var names []string
		for _, f := range d.flags {
			names = append(names, f.names...)
			if f.value == "" {
				continue
			}
			for _, n := range f.names {
				fmt.Fprintf(&values, "    %s:%s) %s; return ;;\n", d.name, n, compgen(f.values()))
			}
		}
		fmt.Fprintf(&flags, "    %s:-*) %s; return ;;\n", d.name, compgen(names, ""))
		if words, kind := d.arguments(); d.name != "" && (len(words) > 0 || kind != "") {
			fmt.Fprintf(&args, "    %s) %s ;;\n", d.name, compgen(words, kind))
		}
	}
	_, err := fmt.Fprintf(w, `# Completes the commands and flags of tcp-log-server in bash.
_tcp_log_server() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= i IFS=$'\n'
  COMPREPLY=()
  # --flag=value comes as three words
  if [[ $cur == "=" ]]; then
    cur=
  elif [[ $prev == "=" ]]; then
    prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
    %s) cmd=${COMP_WORDS[i]}; break ;;
    esac
  done
  case $cmd:$prev in
%s  esac
  case $cmd:$cur in
%s  esac
  case $cmd in
    '') %s ;;
%s  esac
}
complete -F _tcp_log_server tcp-log-server
`, strings.Join(commands, "|"), values.String(), flags.String(), compgen(commands, ""), args.String())
	return err
}

func zshScript(w io.Writer, docs []commandDoc) error {
	quote := strings.NewReplacer(`'`, `'\''`, `\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace
	complete := func(words []string, kind string) string {
		switch {
		case kind == "directories":
			return "_files -/"
		case kind == "files":
			return "_files"
		case len(words) > 0:
			return "(" + strings.Join(words, " ") + ")"
		}
		return " "
	}
	var commands, cases strings.Builder
	var own string
	for _, d := range docs {
		var specs strings.Builder
		for _, f := range d.flags {
			for _, n := range f.names {
				exclude := strings.Join(f.names, " ")
				assign := ""
				if f.value != "" && strings.HasPrefix(n, "--") {
					assign = "="
				}
				fmt.Fprintf(&specs, " \\\n      '(%s)%s%s[%s]", exclude, n, assign, quote(f.usage))
				if f.value != "" {
					fmt.Fprintf(&specs, ":%s:%s", quote(f.value), complete(f.values()))
				}
				specs.WriteString("'")
			}
		}
		if d.name == "" {
			own = specs.String()
			continue
		}
		fmt.Fprintf(&commands, "    '%s:%s'\n", d.name, quote(d.usage))
		words, kind := d.arguments()
		fmt.Fprintf(&cases, "    %s) _arguments%s \\\n      '*:%s:%s' ;;\n", d.name, specs.String(), quote(d.args), complete(words, kind))
	}
	_, err := fmt.Fprintf(w, `#compdef tcp-log-server
# Completes the commands and flags of tcp-log-server in zsh.
_tcp-log-server() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands
  commands=(
%s  )
  _arguments -C%s \
      '1:command:->command' '*::argument:->argument'
  case $state in
  command) _describe -t commands command commands ;;
  argument)
    case $line[1] in
%s    esac ;;
  esac
}
if [ "$funcstack[1]" = "_tcp-log-server" ]; then
  _tcp-log-server "$@"
else
  compdef _tcp-log-server tcp-log-server
fi
`, commands.String(), own, cases.String())
	return err
}

func fishScript(w io.Writer, docs []commandDoc) error {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	complete := func(words []string, kind string) string {
		switch {
		case kind == "directories":
			return " -a '(__fish_complete_directories)'"
		case kind == "files":
			return " -F"
		case len(words) > 0:
			return " -a " + quote(strings.Join(words, " "))
		}
		return ""
	}
	var b strings.Builder
	b.WriteString("# Completes the commands and flags of tcp-log-server in fish.\ncomplete -c tcp-log-server -e\ncomplete -c tcp-log-server -f\n")
	for _, d := range docs {
		when := " -n __fish_use_subcommand"
		if d.name != "" {
			fmt.Fprintf(&b, "complete -c tcp-log-server -n __fish_use_subcommand -a %s -d %s\n", d.name, quote(d.usage))
			when = " -n " + quote("__fish_seen_subcommand_from "+d.name)
			if args := complete(d.arguments()); args != "" {
				fmt.Fprintf(&b, "complete -c tcp-log-server%s%s\n", when, args)
			}
		}
		for _, f := range d.flags {
			b.WriteString("complete -c tcp-log-server" + when)
			for _, n := range f.names {
				if name, long := strings.CutPrefix(n, "--"); long {
					b.WriteString(" -l " + name)
				} else {
					b.WriteString(" -s " + n[1:])
				}
			}
			if words, kind := f.values(); kind == "files" {
				b.WriteString(" -r" + complete(words, kind))
			} else if f.value != "" {
				b.WriteString(" -x" + complete(words, kind))
			}
			fmt.Fprintf(&b, " -d %s\n", quote(f.usage))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
