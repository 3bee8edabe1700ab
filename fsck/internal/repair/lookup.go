package repair

import (
	"context"
	"errors"
	"fmt"

	"tcp-log-server/segment"
	"tcp-log-server/segment/lookup"
)

// errNoRecord: the index lacks a record, so the rest is left to the server.
var errNoRecord = errors.New("a record is missing")

// rebuildTables moves away lookup tables that must not be used, and rebuilds them from the
// index if it has all records. Otherwise the server builds them from the entries.
func (r *Repair) rebuildTables() error {
	if len(r.plan.Tables) == 0 || r.tablesMade {
		return nil
	}
	r.tablesMade = true
	for _, t := range r.plan.Tables {
		if err := r.moveAway(Step{File: t.Path, First: t.First, Last: t.Last, Message: "it is made again"}, "a lookup table that was made again"); err != nil {
			return err
		}
	}
	if r.WAL == segment.Memory || r.index.Last < r.head {
		return nil
	}
	s := Step{Action: "rebuild", File: r.Lookup(), First: 1, Last: r.head, Message: "the lookup tables, from the index"}
	return r.do(s, func() error { return r.change(r.fillTables) })
}

func (r *Repair) fillTables() error {
	log := lookup.Log{Store: r.id, Head: r.head, Hash: func(index uint64) (segment.Hash, bool, error) {
		rec, err := r.index.At(index)
		if err != nil {
			err = fmt.Errorf("%w: %v", errNoRecord, err)
		}
		return rec.Hash, !rec.Lost(), err
	}}
	tables, _, err := lookup.OpenDir(r.Lookup(), log, nil)
	if err == nil {
		defer tables.Close()
		err = tables.Fill(context.Background(), log)
	}
	if errors.Is(err, errNoRecord) {
		return nil
	}
	return err
}
