package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
	"tcp-log-server/internal/where"
)

// source is where entries are read from: a server, or the directories of a log.
type source interface {
	// head returns the index of the last entry, 0 if there is none.
	head(ctx context.Context) (uint64, error)
	// since returns the index of the first entry that was stored at t or later, or, if there is none,
	// the index after the head.
	since(ctx context.Context, t time.Time) (uint64, error)
	// read yields the entries of an extent in order. A *client.EntryError takes the place of one that
	// cannot be read, and any other error ends the read. A value is valid until the next one.
	read(ctx context.Context, s extent) iter.Seq2[client.Entry, error]
}

// extent is the entries from..through, as far as they exist.
type extent struct {
	from, through uint64
	count         uint64            // the most entries; 0 for all
	where         []byte            // only entries that contain this object; nil for all
	time          bool              // with their times
	follow        bool              // also entries that are stored later
	passed        func(next uint64) // if not nil, may be told that no entry before next matches
}

// selection says which entries to print, and in which order: the flags of selectionFlags, whose
// combination docs/CLI.md explains.
type selection struct {
	from, through uint64
	since, until  time.Time // zero for none
	where         []byte
	last, count   uint64
	lastSet       bool
	reverse       bool
	follow        bool
	time          bool // with their times
}

// entries yields the entries of the extent, in the order of the selection.
func (s selection) entries(ctx context.Context, from source, all extent) iter.Seq2[client.Entry, error] {
	if s.reverse {
		return backwards(ctx, from, all)
	}
	return from.read(ctx, all)
}

// selectionFlags returns the flags that all reading commands have to choose entries.
func selectionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "begin at the first entry stored at that `time`: 2026-11-28T09:00:00Z, 2026-11-28, or 1h or 2d ago"},
		&cli.StringFlag{Name: "until", Usage: "end before the first entry stored at that `time`"},
		&cli.Uint64Flag{Name: "through", Usage: "`index` of the last entry (default: the head)", Validator: positive("through"), HideDefault: true},
		&cli.StringSliceFlag{Name: "where", Usage: "only entries that contain `name=value`, or an object: '{\"a\":{\"b\":1}}'; may be repeated"},
		&cli.BoolFlag{Name: "reverse", Usage: "print the newest entry first"},
	}
}

// newSelection reads the flags.
func newSelection(cmd *cli.Command, now time.Time) (s selection, err error) {
	s = selection{
		from: max(cmd.Uint64("from"), 1), through: math.MaxUint64,
		last: cmd.Uint64("last"), lastSet: cmd.IsSet("last"), count: cmd.Uint64("count"),
		reverse: cmd.Bool("reverse"), follow: cmd.Bool("follow"), time: cmd.Bool("time"),
	}
	if cmd.Name == "tail" {
		s.count, s.lastSet = 0, s.lastSet || !cmd.IsSet("since")
	}
	if cmd.IsSet("through") {
		s.through = cmd.Uint64("through")
	}
	for name, t := range map[string]*time.Time{"since": &s.since, "until": &s.until} {
		if !cmd.IsSet(name) {
			continue
		}
		if *t, err = parseTime(cmd.String(name), now); err != nil {
			return s, fmt.Errorf("--%s: %w", name, err)
		}
	}
	if s.where, err = where.Parse(cmd.StringSlice("where")); err != nil {
		return s, err
	}
	switch {
	case s.reverse && cmd.IsSet("state"):
		err = errors.New("--state goes forwards from where the last run ended, and --reverse backwards: leave one of them out")
	case s.reverse && s.follow:
		err = errors.New("--reverse and --follow exclude each other: a log that is followed has no last entry")
	case !s.until.IsZero() && s.follow:
		err = errors.New("--until ends the read, and --follow waits for later entries: leave one of them out, or end with --through")
	case s.from > s.through:
		err = fmt.Errorf("--through %d is before --from %d", s.through, s.from)
	case !s.since.IsZero() && !s.until.IsZero() && !s.since.Before(s.until):
		err = fmt.Errorf("--until %s is not after --since %s", cmd.String("until"), cmd.String("since"))
	}
	return s, err
}

// resolve returns what to read from a source. Unless after is nil, it begins with the entry after that
// index, wherever the flags would begin.
func (s selection) resolve(ctx context.Context, from source, after *uint64) (extent, error) {
	all := extent{from: s.from, through: s.through, count: s.count, where: s.where, time: s.time, follow: s.follow}
	last := s.lastSet && after == nil
	var head uint64
	if last || s.reverse || !s.since.IsZero() {
		// This comes first: entries that are stored meanwhile are then neither missed nor printed.
		var err error
		if head, err = from.head(ctx); err != nil {
			return all, err
		}
	}
	if after != nil {
		all.from = *after + 1
	} else if !s.since.IsZero() {
		first, err := from.since(ctx, s.since)
		if err != nil {
			return all, err
		}
		all.from = max(all.from, min(first, head+1))
	}
	if !s.until.IsZero() {
		end, err := from.since(ctx, s.until)
		if err != nil {
			return all, err
		}
		all.through = min(all.through, end-1)
	}
	if !s.follow && (last || s.reverse) {
		all.through = min(all.through, head)
	}
	if !last {
		return all, nil
	}
	first, err := s.first(ctx, from, extent{from: all.from, through: min(all.through, head), where: s.where})
	all.from = first
	return all, err
}

// first returns the index of the first of the last entries of an extent.
func (s selection) first(ctx context.Context, from source, within extent) (uint64, error) {
	switch {
	case s.last == 0 || within.from > within.through:
		return max(within.through+1, within.from), nil
	case s.where == nil:
		return within.through + 1 - min(s.last, within.through+1-within.from), nil
	}
	first := within.from
	left := s.last
	for e, err := range backwards(ctx, from, within) {
		var bad *client.EntryError
		if err != nil && !errors.As(err, &bad) {
			return 0, err
		}
		if left--; left == 0 {
			first = e.Index
			break
		}
	}
	return first, nil
}

// rangeFlags returns the additional flags of `read` and `cat`; `tail` chooses the last entries.
func rangeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Uint64Flag{Name: "from", Value: 1, Usage: "`index` of the first entry", Validator: positive("from")},
		&cli.Uint64Flag{Name: "count", Usage: "`number` of entries to print at most (default: all)", Validator: positive("count"), HideDefault: true},
		&cli.Uint64Flag{Name: "last", Usage: "only the last entries: their `number` (default: all)", HideDefault: true},
	}
}
