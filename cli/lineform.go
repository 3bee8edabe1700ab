package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"
	"github.com/zeebo/blake3"

	"tcp-log-server/client"
)

// lineFlags returns the flags that choose what is printed of an entry.
func lineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "entry", Usage: "print only the entry"},
		&cli.BoolFlag{Name: "index", Usage: "print only the index"},
		&cli.BoolFlag{Name: "time", Usage: "print also when the entry was stored, in UTC"},
		&cli.BoolFlag{Name: "hash", Usage: "print also the BLAKE3 hash of the entry"},
		&cli.BoolFlag{Name: "pretty", Usage: "print the entry over several lines, indented"},
	}
}

// lineForm is how an entry is printed.
type lineForm struct {
	only       string // "entry", "index", or "" for a line with both
	time, hash bool   // members of that line
	indent     bool
	terminal   bool // for a terminal
	color      bool // and colour is allowed
}

func newLineForm(cmd *cli.Command) (lineForm, error) {
	f := lineForm{time: cmd.Bool("time"), hash: cmd.Bool("hash"), indent: cmd.Bool("pretty"), color: os.Getenv("NO_COLOR") == ""}
	entry, index, more := cmd.Bool("entry"), cmd.Bool("index"), f.time || f.hash
	switch {
	case entry && index:
		return f, errors.New("--entry and --index do not go together")
	case index && (more || f.indent):
		return f, errors.New("--index prints only the index, so --time, --hash and --pretty do not go with it")
	case entry && more:
		return f, errors.New("--entry prints only the entry, so --time and --hash do not go with it")
	case index:
		f.only = "index"
	case entry, f.indent && !more:
		f.only = "entry"
	}
	return f, nil
}

// line appends the line for the entry e. If it could not be read, bad says why.
func (f lineForm) line(b []byte, e client.Entry, bad *client.EntryError) []byte {
	switch {
	case f.only != "" && bad != nil:
		return b // it is reported on standard error
	case f.only == "index":
		return append(strconv.AppendUint(b, e.Index, 10), '\n')
	case f.only == "entry":
		b = f.json(b, e.Value)
	case bad != nil:
		b = f.json(b, appendJSON(nil, "index", e.Index, "error", bad.Text))
	case f.indent || f.terminal:
		b = f.json(b, f.object(nil, e))
	default:
		b = f.object(b, e)
	}
	return append(b, '\n')
}

// object appends the JSON object with the chosen members of e.
func (f lineForm) object(b []byte, e client.Entry) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendUint(b, e.Index, 10)
	if f.time {
		b = appendTime(append(b, `,"time":`...), e.Time)
	}
	if f.hash {
		sum := blake3.Sum256(e.Value)
		b = append(b, `,"hash":"`...)
		b = append(hex.AppendEncode(b, sum[:]), '"')
	}
	b = append(b, `,"entry":`...)
	b = append(b, e.Value...)
	return append(b, '}')
}

// appendTime appends a time as JSON text, null if it is zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return append(append(append(b, '"'), timeText(t)...), '"')
}

// timeText formats a time as the server writes it: RFC 3339, in UTC and microseconds.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// json appends JSON text, indented if requested, and on a terminal in the form for it.
func (f lineForm) json(b, text []byte) []byte {
	if f.indent {
		var indented bytes.Buffer
		if json.Indent(&indented, text, "", "  ") == nil { // always: it is JSON
			text = indented.Bytes()
		}
	}
	if !f.terminal {
		return append(b, text...)
	}
	return appendForTerminal(b, text, f.color)
}
