package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// outcome is the result of appending a value.
type outcome int

const (
	stored   outcome = iota
	refused          // by the server, or because it is not an entry: it is not stored
	unsent           // it is not stored
	unknown          // it may be stored
	outcomes         // their number
)

func (o outcome) String() string { return [...]string{"stored", "refused", "not sent", "unknown"}[o] }

// outcomeOf returns the outcome of an append that has returned err.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return stored
	case turnedAway(err): // the server has examined nothing that was sent over the connection
		return unsent
	case errors.Is(err, client.ErrRefused), errors.Is(err, client.ErrInvalid):
		return refused
	case errors.Is(err, client.ErrNotSent):
		return unsent
	}
	return unknown
}

// value is a value that is being appended: its number in the input, from 1, and where it begins.
type value struct{ number, place int }

// tally counts the outcomes of values, and prints them. Its methods may be called from any
// goroutine.
type tally struct {
	cmd       *cli.Command
	out       *lineWriter
	noun      string // of a place: line, element or argument
	quiet     bool
	json      bool
	receipt   bool
	once      bool
	batch     bool // all values are one write
	keepGoing bool // after a refused value
	arguments int  // how many arguments are values; 0 if they come from standard input
	stopped   chan struct{}
	settled   chan struct{} // closed once the tally is stopped and nothing is in flight

	mu       sync.Mutex
	inFlight int
	begun    int // values
	last     int // the place of the last one begun
	halted   bool
	ended    bool  // all of the input has been begun
	answered bool  // the server has answered a value
	reason   error // why it stopped before the end, if not because of an outcome
	cause    error // of the first value that was not sent, is unknown, or may not be written with this token
	counts   [outcomes]int
	spans    [outcomes]spans
	unmet    bool   // the condition of the first value that was refused did not hold
	lowest   uint64 // of the stored values, and the highest
	highest  uint64
}

// newTally returns the tally of that many arguments, or of standard input if there are none.
func newTally(cmd *cli.Command, out *lineWriter, arguments int) *tally {
	l := &tally{
		cmd: cmd, out: out, noun: "line", quiet: cmd.Bool("quiet"), json: cmd.Bool("json"), keepGoing: cmd.String("on-error") == "continue",
		receipt: cmd.Bool("receipt"), once: cmd.Bool("once"), batch: cmd.Bool("batch"),
		arguments: arguments, stopped: make(chan struct{}), settled: make(chan struct{}),
	}
	switch {
	case arguments > 0:
		l.noun = "argument"
	case cmd.Bool("array"):
		l.noun = "element"
	}
	return l
}

// begin notes that the value at place is about to be sent. Once the tally has stopped it returns
// false, and nothing may be sent.
func (l *tally) begin(place int) (v value, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted {
		return value{}, false
	}
	l.inFlight++
	l.begun++
	l.last = place
	return value{number: l.begun, place: place}, true
}

// end notes that there are no more values.
func (l *tally) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.halt(nil)
}

// stop prevents further values from being begun. Only the first reason counts.
func (l *tally) stop(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halt(reason)
}

// fail notes why no further value can be begun.
func (l *tally) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cause = err
	l.halt(nil)
}

func (l *tally) halt(reason error) {
	if !l.halted {
		l.halted, l.reason = true, reason
		close(l.stopped)
		if l.inFlight == 0 {
			close(l.settled)
		}
	}
}

// settle notes the outcome of a value that was begun.
func (l *tally) settle(v value, r receipt, err error) {
	o := outcomeOf(err)
	l.print(v.place, r, o, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if unmet(err) && l.counts[refused] == 0 { // else it is a consequence
		l.unmet, l.cause = true, err
	}
	l.counts[o]++
	l.spans[o].add(v)
	l.answered = l.answered || o == stored || o == refused && errors.Is(err, client.ErrRefused)
	barred := lacksRight(err) // then it applies to the next ones too
	switch {
	case o == stored:
		if l.lowest == 0 || r.index < l.lowest {
			l.lowest = r.index
		}
		l.highest = max(l.highest, r.index)
	case o == refused && l.keepGoing && !barred:
	default:
		if (o != refused || barred || l.reportsOnce(err)) && !unmet(err) && l.cause == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errGivenUp) && !errors.Is(err, client.ErrClosed) {
			l.cause = err // and not a consequence of stop, or of a second signal
		}
		l.halt(nil)
	}
	if l.inFlight--; l.inFlight == 0 && l.halted {
		close(l.settled)
	}
}

// receipt is where a value is stored.
type receipt struct {
	index uint64
	seen  bool // the log already held it
	time  time.Time
	hash  string
}

// unmet reports whether err says that the head was not the one of --if.
func unmet(err error) bool {
	_, ok := errors.AsType[*client.ConditionError](err)
	return ok
}

// reportsOnce reports whether only the report mentions err, which concerns more than one value.
func (l *tally) reportsOnce(err error) bool {
	return lacksRight(err) || unmet(err) || l.batch
}

// print prints the outcome of one value.
func (l *tally) print(place int, r receipt, o outcome, err error) {
	switch {
	case l.json:
		l.out.add(func(b []byte) []byte { return append(l.appendOutcome(b, place, r, o, err), '\n') })
	case o == stored && l.receipt:
		l.out.add(func(b []byte) []byte {
			b = append(strconv.AppendUint(b, r.index, 10), ' ')
			b = append(append(b, timeText(r.time)...), ' ')
			return append(append(b, r.hash...), '\n')
		})
	case o == stored && !l.quiet:
		l.out.add(func(b []byte) []byte { return append(strconv.AppendUint(b, r.index, 10), '\n') })
	case o == refused && !l.reportsOnce(err):
		warn("append: %s %d: not stored: %s", l.noun, place, bare(err))
	}
}

// appendOutcome appends the outcome of one value as JSON.
func (l *tally) appendOutcome(b []byte, place int, r receipt, o outcome, err error) []byte {
	if o != stored {
		members := []any{l.noun, place, "outcome", l.name(o), "error", bare(err)}
		if c, ok := errors.AsType[*client.ConditionError](err); ok {
			members = append(members, "head", c.Head)
		}
		return appendJSON(b, members...)
	}
	b = append(append(append(b, `{"`...), l.noun...), `":`...)
	b = append(strconv.AppendInt(b, int64(place), 10), `,"outcome":"stored","index":`...)
	b = strconv.AppendUint(b, r.index, 10)
	if l.once {
		b = strconv.AppendBool(append(b, `,"seen":`...), r.seen)
	}
	if l.receipt {
		b = append(append(b, `,"time":"`...), timeText(r.time)...)
		b = append(append(b, `","hash":"`...), r.hash...)
		b = append(b, '"')
	}
	return append(b, '}')
}

// name returns the name of an outcome. An unknown outcome of a value with --once does not matter: it
// may be sent again.
func (l *tally) name(o outcome) string {
	if l.once && o == unknown {
		return "not answered"
	}
	return o.String()
}

// bare returns the text of err without its statement of the outcome.
func bare(err error) string {
	text := plainly(err)
	for _, outcome := range []error{client.ErrUnknown, client.ErrNotSent, client.ErrRefused} {
		text = strings.TrimPrefix(text, outcome.Error()+": ")
	}
	return text
}

// count returns how many values have had the outcome.
func (l *tally) count(o outcome) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[o]
}

// report returns nil if all values are stored. Otherwise its error says in one line which are and
// which are not, and has the exit code for that.
func (l *tally) report() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endArguments()
	code := 0
	switch {
	case l.counts[unknown] > 0:
		code = ExitUnknown
	case l.unmet:
		code = ExitCondition
	case l.counts[refused] > 0:
		code = ExitRefused
	case !l.ended:
		code = ExitFailure
	case l.counts[unsent] > 0:
		code = ExitFailure
	default:
		return nil
	}
	if l.ended && l.begun == 1 && l.counts[refused] == 1 && l.cause == nil && l.reason == nil {
		return cli.Exit("", code) // its line says everything
	}
	var parts []string
	if l.cause != nil {
		text := bare(l.cause)
		if !l.answered || notAdmitted(l.cause) {
			text += advice(l.cmd, l.cause)
		}
		parts = append(parts, text)
	}
	if l.reason != nil {
		parts = append(parts, l.reason.Error())
	}
	for o := range outcomes {
		if l.counts[o] == 0 {
			continue
		}
		part := fmt.Sprintf("%s: %s", l.name(o), l.spans[o].text(l.noun, l.counts[o]))
		if o == stored {
			part += fmt.Sprintf(" (index %d", l.lowest)
			if l.highest > l.lowest {
				part += fmt.Sprintf(" to %d", l.highest)
			}
			part += ")"
		}
		if o == unsent && !l.ended {
			part += " and all after"
		}
		parts = append(parts, part)
	}
	switch {
	case l.ended:
	case l.begun == 0:
		parts = append(parts, "nothing was sent")
	case l.counts[unsent] == 0:
		parts = append(parts, fmt.Sprintf("not sent: all after %s %d", l.noun, l.last))
	}
	switch {
	case code == ExitUnknown && l.once:
		parts = append(parts, "append them again: with --once none is stored twice")
	case code == ExitUnknown:
		parts = append(parts, fmt.Sprintf("read the log from %d to see which of the unknown it has", l.highest+1))
	}
	return cli.Exit("append: "+strings.Join(parts, "; "), code)
}

// endArguments counts the arguments that were not begun as not sent. How many values remain on
// standard input is not known.
func (l *tally) endArguments() {
	reason := cmp.Or(l.cause, l.reason, errors.New("an argument before it is refused"))
	for l.last < l.arguments {
		l.begun++
		l.last++
		l.print(l.last, receipt{}, unsent, reason)
		l.counts[unsent]++
		l.spans[unsent].add(value{number: l.begun, place: l.last})
	}
	l.ended = l.ended || l.arguments > 0
}

// spansMax is how many spans of values are kept. A report with more would be useless, and each
// refused value has already been reported.
const spansMax = 16

// spans are values in order of their numbers, with consecutive ones as one span.
type spans struct {
	list []span
	more bool
}

// span is from the place from to the place through.
type span struct{ from, through, first, last int }

// add adds a value. Outcomes that need no answer from the server come early, so the order is not
// always that of the input.
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

// text names the places, of which there are count.
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
