package fsck

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"tcp-log-server/internal/printable"
)

// Exit codes of the command, as those of fsck(8).
const (
	ExitClean     = 0  // no errors; there may have been hints
	ExitCorrected = 1  // there were errors, and all have been corrected
	ExitErrors    = 4  // there are errors
	ExitFailed    = 8  // the check or the repair could not be carried out
	ExitUsage     = 16 // the command was used incorrectly
)

// Printer writes the results of a check or a repair: a line for each finding and
// step, and a summary. Not for concurrent use.
type Printer struct {
	out  io.Writer
	json bool
	err  error
}

// NewPrinter returns a Printer that writes to out, as text or as one JSON object per line.
func NewPrinter(out io.Writer, asJSON bool) *Printer { return &Printer{out: out, json: asJSON} }

// Err returns the first write error.
func (p *Printer) Err() error { return p.err }

// line prints a line. Names in it may contain anything, so unprintable characters are
// escaped.
func (p *Printer) line(format string, args ...any) {
	if _, err := io.WriteString(p.out, printable.Text(fmt.Sprintf(format, args...))+"\n"); err != nil && p.err == nil {
		p.err = err
	}
}

// object prints an object with its type before its own members.
func (p *Printer) object(kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		p.err = err
		return
	}
	p.line("{\"type\":%q,%s", kind, b[1:])
}

// Finding prints a finding.
func (p *Printer) Finding(f Finding) {
	if p.json {
		p.object("finding", f)
		return
	}
	where := f.File
	if f.Offset > 0 {
		where += fmt.Sprintf(", offset %d", f.Offset)
	}
	switch {
	case f.First == 0:
	case f.Last == 0:
		where += fmt.Sprintf(", indices from %d", f.First)
	case f.Last == f.First:
		where += fmt.Sprintf(", index %d", f.First)
	default:
		where += fmt.Sprintf(", indices %d to %d", f.First, f.Last)
	}
	p.line("%s: %s: %s: %s", f.Severity, f.Kind, where, f.Message)
}

// Step prints a step of a repair, before it is made.
func (p *Printer) Step(s Step) {
	if p.json {
		p.object("step", s)
		return
	}
	verb := "repair"
	if s.DryRun {
		verb = "would repair"
	}
	p.line("%s: %s: %s: %s", verb, s.Action, s.File, s.Message)
}

// Summary prints the summary of a check.
func (p *Printer) Summary(s Summary) {
	if p.json {
		p.object("summary", s)
		return
	}
	p.line("entries   %d, of them %d damaged, %d lost", s.Entries, s.Damaged, s.Lost)
	p.line("blobs     %d", s.Blobs)
	p.line("segments  %d, from index %d", s.Segments, s.First)
	p.line("index     %s", count(s.Indexed, "record", "records"))
	if s.Archived > 0 {
		p.line("archive   %s are in the archive at %s only and have not been checked here: `tcp-log-server fsck %s` checks them", count(s.Archived, "entry", "entries"), s.Archive, shellWord(s.Archive))
	}
	p.line("bytes     %d (%s)", s.Bytes, printable.Bytes(s.Bytes))
	p.line("head      %d", s.Entries)
	digest := s.Digest
	if digest == "" {
		digest = "none: not every entry could be verified"
	}
	note := ""
	if s.Quick {
		note = ", by the index alone"
	} else if s.Archived > 0 {
		note = ", those in the archive by the index alone"
	}
	entries := "no entries"
	if s.Through > 0 {
		entries = fmt.Sprintf("entries 1 to %d%s", s.Through, note)
	}
	p.line("digest    %s (%s)", digest, entries)
	p.line("time      %v", time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond))
	switch {
	case s.Errors > 0:
		p.line("%s, %s: the log is damaged", count(s.Errors, "error", "errors"), count(s.Hints, "hint", "hints"))
	case s.Hints > 0:
		p.line("%s: the log is whole", count(s.Hints, "hint", "hints"))
	default:
		p.line("the log is whole")
	}
}

// Outcome prints the outcome of a repair, as the last line.
func (p *Printer) Outcome(o Outcome) {
	if p.json {
		p.object("outcome", o)
		return
	}
	if o.Parted > 0 {
		p.line("from index %d on the other copy holds another log: only entries that hashes prove were taken from there", o.Parted)
	}
	steps, given := count(o.Steps, "step", "steps"), count(o.GivenUp, "entry", "entries")
	switch {
	case o.DryRun && o.GivenUp > 0:
		p.line("nothing has been changed: %s to be made, and %s would be given up after index %d", steps, given, o.Head)
	case o.DryRun:
		p.line("nothing has been changed: %s to be made", steps)
	case o.GivenUp > 0:
		p.line("%s made; %s given up after index %d: the index had their records, but they had no content", steps, given, o.Head)
	default:
		p.line("%s made; 0 entries given up", steps)
	}
}

// Next prints the command to run next, for people.
func (p *Printer) Next(command ...string) {
	if !p.json {
		words := make([]string, len(command))
		for i, word := range command {
			words[i] = shellWord(word)
		}
		p.line("next: %s", strings.Join(words, " "))
	}
}

// shellWord quotes text that a shell would split.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./+,:=@%", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	if text := printable.Text(word); text != word {
		return "$'" + printable.Text(strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(word)) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Note prints a line for people.
func (p *Printer) Note(format string, args ...any) {
	if !p.json {
		p.line(format, args...)
	}
}

// count describes n things.
func count[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
