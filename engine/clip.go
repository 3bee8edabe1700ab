package engine

import "bytes"

// clip cuts a run of count entries from index first to those within from..through. At
// least one of them is.
func clip(first uint64, count int, entries []byte, from, through uint64) (uint64, int, []byte) {
	for first < from {
		entries = entries[lineEnd(entries):]
		first++
		count--
	}
	if last := first + uint64(count) - 1; last > through {
		count = int(through - first + 1)
		end := 0
		for range count {
			end += lineEnd(entries[end:])
		}
		entries = entries[:end]
	}
	return first, count, entries
}

// lineEnd returns the length of the first line of b, including its newline.
func lineEnd(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}
