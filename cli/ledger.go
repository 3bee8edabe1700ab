package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// fate is what has become of a value that was to be appended.
type fate int

const (
	stored  fate = iota
	refused      // by the server, or because it is no entry: it is not stored
	unsent       // it is not stored
	unknown      // it may be stored
	fates
)

func (f fate) String() string { return [...]string{"stored", "refused", "not sent", "unknown"}[f] }

// fateOf tells it by the error of an append.
func fateOf(err error) fate {
	switch {
	case err == nil:
		return stored
	case turnedAway(err): // together with those that it came too early for: the server has looked at none
		return unsent
	case errors.Is(err, client.ErrRefused), errors.Is(err, client.ErrInvalid):
		return refused
	case errors.Is(err, client.ErrNotSent):
		return unsent
	}
	return unknown
}

// value is one that was begun: the how-manieth, and where in the input it begins.
type value struct{ number, place int }

// ledger keeps what has become of each value, and prints it. Its methods may be
// called from any goroutine.
type ledger struct {
	cmd     *cli.Command
	out     *gatherer
	noun    string // of a place: line, element or argument
	quiet   bool
	json    bool
	goOn    bool // behind a refused value
	stopped chan struct{}
	settled chan struct{} // closed once it is stopped, and nothing is under way

	mu      sync.Mutex
	open    int // values under way
	begun   int // values
	last    int // the place of the last one that was begun
	halted  bool
	ended   bool  // all of the input has been begun
	heard   bool  // the server has answered for a value
	reason  error // why it stopped before the end, if not for a value's fate
	cause   error // of the first that was not sent or is unknown, or that the token may not write
	counts  [fates]int
	spans   [fates]spans
	lowest  uint64 // index of the first that was stored
	highest uint64
}

func newLedger(cmd *cli.Command, out *gatherer, arguments bool) *ledger {
	l := &ledger{
		cmd: cmd, out: out, noun: "line", quiet: cmd.Bool("quiet"), json: cmd.Bool("json"), goOn: cmd.String("on-error") == "continue",
		stopped: make(chan struct{}), settled: make(chan struct{}),
	}
	switch {
	case arguments:
		l.noun = "argument"
	case cmd.Bool("array"):
		l.noun = "element"
	}
	return l
}

// begin notes that the value at place is about to be sent, which is not to be done
// once the ledger has stopped.
func (l *ledger) begin(place int) (v value, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted {
		return value{}, false
	}
	l.open++
	l.begun++
	l.last = place
	return value{number: l.begun, place: place}, true
}

// end notes that there are no more values.
func (l *ledger) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.halt(nil)
}

// stop keeps further values from being begun. The first reason counts.
func (l *ledger) stop(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halt(reason)
}

func (l *ledger) halt(reason error) {
	if !l.halted {
		l.halted, l.reason = true, reason
		close(l.stopped)
		if l.open == 0 {
			close(l.settled)
		}
	}
}

// settle notes what has become of a value that was begun.
func (l *ledger) settle(v value, index uint64, err error) {
	f := fateOf(err)
	l.print(v.place, index, f, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[f]++
	l.spans[f].add(v)
	l.heard = l.heard || f == stored || f == refused && errors.Is(err, client.ErrRefused)
	barred := lacksRight(err) // which the next ones are too
	switch {
	case f == stored:
		if l.lowest == 0 {
			l.lowest = index
		}
		l.highest = max(l.highest, index)
	case f == refused && l.goOn && !barred:
	default:
		if (f != refused || barred) && l.cause == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrClosed) {
			l.cause = err // and not what stop, or a second signal, has come to
		}
		l.halt(nil)
	}
	if l.open--; l.open == 0 && l.halted {
		close(l.settled)
	}
}

// print says what has become of one value.
func (l *ledger) print(place int, index uint64, f fate, err error) {
	switch {
	case l.json && f == stored:
		l.out.add(func(b []byte) []byte {
			b = append(append(append(b, `{"`...), l.noun...), `":`...)
			b = append(strconv.AppendInt(b, int64(place), 10), `,"outcome":"stored","index":`...)
			return append(strconv.AppendUint(b, index, 10), "}\n"...)
		})
	case l.json:
		l.out.add(func(b []byte) []byte {
			return append(appendJSON(b, l.noun, place, "outcome", f.String(), "error", bare(err)), '\n')
		})
	case f == stored && !l.quiet:
		l.out.add(func(b []byte) []byte { return append(strconv.AppendUint(b, index, 10), '\n') })
	case f == refused && !lacksRight(err): // which the report says once for all
		fmt.Fprintf(os.Stderr, "tcp-log-server: append: %s %d: not stored: %s\n", l.noun, place, bare(err))
	}
}

// bare is err without what it says of the fate of its value.
func bare(err error) string {
	text := plainly(err)
	for _, fate := range []error{client.ErrUnknown, client.ErrNotSent, client.ErrRefused} {
		text = strings.TrimPrefix(text, fate.Error()+": ")
	}
	return text
}

// count is how many values have met the fate.
func (l *ledger) count(f fate) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[f]
}

// report is nil if all values are stored. Otherwise it says which are and which are
// not, in one line, with the exit code for it.
func (l *ledger) report() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	code := 0
	switch {
	case l.counts[unknown] > 0:
		code = ExitUnknown
	case l.counts[refused] > 0:
		code = ExitRefused
	case !l.ended:
		code = ExitFailure
	case l.counts[unsent] > 0:
		code = ExitFailure
	default:
		return nil
	}
	var parts []string
	if l.cause != nil {
		text := bare(l.cause)
		if !l.heard || notWelcome(l.cause) {
			text += adviceFor(l.cmd, l.cause)
		}
		parts = append(parts, text)
	}
	if l.reason != nil {
		parts = append(parts, l.reason.Error())
	}
	for f := range fates {
		if l.counts[f] == 0 {
			continue
		}
		part := fmt.Sprintf("%v: %s", f, l.spans[f].text(l.noun, l.counts[f]))
		if f == stored {
			part += fmt.Sprintf(" (index %d", l.lowest)
			if l.highest > l.lowest {
				part += fmt.Sprintf(" to %d", l.highest)
			}
			part += ")"
		}
		if f == unsent && !l.ended {
			part += " and all behind"
		}
		parts = append(parts, part)
	}
	switch {
	case l.ended:
	case l.begun == 0:
		parts = append(parts, "nothing was sent")
	case l.counts[unsent] == 0:
		parts = append(parts, fmt.Sprintf("not sent: all behind %s %d", l.noun, l.last))
	}
	if code == ExitUnknown {
		parts = append(parts, fmt.Sprintf("read the log from %d to see which of the unknown it has", l.highest+1))
	}
	return cli.Exit("append: "+strings.Join(parts, "; "), code)
}

// spansMax is how many spans of values are kept; a report with more would be of no
// use, and refused values have been named one by one.
const spansMax = 16

// spans are values in order of their numbers, those that follow each other as one.
type spans struct {
	list []span
	more bool
}

// span is from the place from to the place through.
type span struct{ from, through, first, last int }

// add notes a value. What the server has to say comes later than what it is not
// needed for, so the order is not always that of the input.
func (r *spans) add(v value) {
	if n := len(r.list); n > 0 && r.list[n-1].last == v.number-1 {
		r.list[n-1].through, r.list[n-1].last = v.place, v.number
		return
	}
	if len(r.list) == spansMax {
		r.more = true
		return
	}
	r.list = append(r.list, span{v.place, v.place, v.number, v.number})
	slices.SortFunc(r.list, func(a, b span) int { return a.first - b.first })
}

// text names the count places.
func (r *spans) text(noun string, count int) string {
	var b strings.Builder
	b.WriteString(noun)
	if len(r.list) > 1 || r.list[0].through > r.list[0].from {
		b.WriteByte('s')
	}
	for i, one := range r.list {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %d", one.from)
		if one.through > one.from {
			fmt.Fprintf(&b, "-%d", one.through)
		}
	}
	if r.more {
		fmt.Fprintf(&b, " and others, %d in all", count)
	}
	return b.String()
}
