package cli

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"tcp-log-server/internal/printable"
)

// printLine prints a line. Names and foreign text in it may contain anything, so
// unprintable characters are escaped.
func printLine(w io.Writer, format string, args ...any) error {
	_, err := io.WriteString(w, printable.Text(fmt.Sprintf(format, args...))+"\n")
	return err
}

// warn prints a line to standard error, after the name of the program.
func warn(format string, args ...any) { _ = printLine(os.Stderr, "tcp-log-server: "+format, args...) }

// table prints names and values in two columns.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

// row adds a row. Flush returns its error.
func (t table) row(name, format string, args ...any) {
	fmt.Fprintf(t, "%s\t%s\n", name, printable.Text(fmt.Sprintf(format, args...)))
}

// counted formats n of something, in the singular if it is one.
func counted[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		many = one
	}
	return grouped(uint64(n)) + " " + many
}

// grouped formats n with a comma between groups of three digits.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
