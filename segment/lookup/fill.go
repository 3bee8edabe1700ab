package lookup

import (
	"context"

	"tcp-log-server/segment"
)

// TableRows is how many entries a new table should have: few enough to keep in memory
// until then, and enough to be worth a file.
const TableRows = 1 << 16

// Fill adds tables for the entries of log that have none, through log.Head, and merges
// them. It calls log.Hash with ascending indices. If ctx ends or an error occurs, what
// has been done stays.
func (s *Set) Fill(ctx context.Context, log Log) error {
	rows := make([]Row, 0, min(TableRows, log.Head-min(log.Head, s.Through())))
	for s.Through() < log.Head {
		if err := ctx.Err(); err != nil {
			return err
		}
		first := s.Through() + 1
		last := min(log.Head, first+TableRows-1)
		rows = rows[:0]
		var of segment.Hash // the last of them, zero if it is lost
		for i := first; i <= last; i++ {
			hash, ok, err := log.Hash(i)
			if err != nil {
				return err
			}
			of = segment.Hash{}
			if ok {
				of = hash
				rows = append(rows, Row{Prefix: Prefix(hash), Delta: uint32(i - first)})
			}
		}
		if err := s.Add(first, last, of, rows); err != nil {
			return err
		}
		if err := s.Merge(ctx); err != nil {
			return err
		}
	}
	return nil
}
