package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tcp-log-server/segment"
)

// damage is one way to damage a store.
type damage struct {
	name string
	do   func(s damagedStore)
}

// segmentDamages are the ways to damage the nth of the store's segments.
func segmentDamages(n int) []damage {
	const head = segment.BatchHeaderSize
	// in edits the bytes of a segment whose batches begin at the given offsets.
	in := func(name string, fn func(b []byte, at []int) []byte) damage {
		return damage{fmt.Sprintf("segment %d: %s", n, name), func(s damagedStore) {
			paths := s.segments()
			path := paths[min(n, len(paths)-1)]
			at := s.batches(path)
			s.edit(path, func(b []byte) []byte { return fn(b, at) })
		}}
	}
	flip := func(name string, off func(b []byte, at []int) int) damage {
		return in("flip "+name, func(b []byte, at []int) []byte { b[min(off(b, at), len(b)-1)] ^= 0x10; return b })
	}
	mid := func(at []int) int { return (len(at) - 1) / 2 } // a batch in the middle
	ds := []damage{
		flip("the header's magic", func([]byte, []int) int { return 2 }),
		flip("the header's store", func([]byte, []int) int { return 20 }),
		flip("the header's first index", func([]byte, []int) int { return 33 }),
		flip("the first batch's header", func(_ []byte, at []int) int { return at[0] + 9 }),
		flip("a batch's magic", func(_ []byte, at []int) int { return at[mid(at)] }),
		flip("a batch's size", func(_ []byte, at []int) int { return at[mid(at)] + 4 }),
		flip("a batch's count", func(_ []byte, at []int) int { return at[mid(at)] + 16 }),
		flip("a batch's time", func(_ []byte, at []int) int { return at[mid(at)] + 25 }),
		flip("a batch's checksum", func(_ []byte, at []int) int { return at[mid(at)] + 45 }),
		flip("a batch's first entry", func(_ []byte, at []int) int { return at[mid(at)] + head + 5 }),
		flip("a batch's last entry", func(_ []byte, at []int) int { return at[mid(at)+1] - 4 }),
		flip("a batch's last newline", func(_ []byte, at []int) int { return at[mid(at)+1] - 1 }),
		flip("a newline in a batch", func(b []byte, at []int) int {
			return at[mid(at)] + head + bytes.IndexByte(b[at[mid(at)]+head:], '\n')
		}),
		flip("the last batch's header", func(_ []byte, at []int) int { return at[len(at)-2] + 9 }),
		flip("the last batch's body", func(_ []byte, at []int) int { return at[len(at)-1] - 3 }),
		flip("the table", func(b []byte, at []int) int { return at[len(at)-1] + 4 }),
		flip("the footer's magic", func(b []byte, _ []int) int { return len(b) - 64 }),
		flip("the footer's last index", func(b []byte, _ []int) int { return len(b) - 64 + 24 }),
		flip("the last byte", func(b []byte, _ []int) int { return len(b) - 1 }),
		in("cut everything", func(b []byte, _ []int) []byte { return nil }),
		in("cut in the header", func(b []byte, _ []int) []byte { return b[:30] }),
		in("cut after the header", func(b []byte, _ []int) []byte { return b[:segment.HeaderSize] }),
		in("cut in a batch's header", func(b []byte, at []int) []byte { return b[:at[mid(at)]+20] }),
		in("cut in a batch's body", func(b []byte, at []int) []byte { return b[:at[mid(at)]+head+10] }),
		in("cut after a batch", func(b []byte, at []int) []byte { return b[:at[mid(at)+1]] }),
		in("cut the table and the footer", func(b []byte, at []int) []byte { return b[:at[len(at)-1]] }),
		in("cut a byte", func(b []byte, _ []int) []byte { return b[:len(b)-1] }),
		in("shift a batch's bytes up", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head+3, at[mid(at)+1]
			copy(b[from+1:to], bytes.Clone(b[from:to-1]))
			b[from] = 'x'
			return b
		}),
		in("shift a batch's bytes down", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head+3, at[mid(at)+1]
			copy(b[from:to-1], bytes.Clone(b[from+1:to]))
			return b
		}),
		in("shift a batch's bytes by many", func(b []byte, at []int) []byte {
			from, to := at[mid(at)]+head, at[mid(at)+1]
			copy(b[min(from+9, to):to], bytes.Clone(b[from:to]))
			return b
		}),
		in("insert a byte", func(b []byte, at []int) []byte { return slices.Insert(b, at[mid(at)]+head+1, 'y') }),
		in("remove a byte", func(b []byte, at []int) []byte { return slices.Delete(b, at[mid(at)]+head+1, at[mid(at)]+head+2) }),
		in("remove a batch", func(b []byte, at []int) []byte { return slices.Delete(b, at[mid(at)], at[mid(at)+1]) }),
		in("write a batch twice", func(b []byte, at []int) []byte {
			return slices.Insert(b, at[mid(at)+1], bytes.Clone(b[at[mid(at)]:at[mid(at)+1]])...)
		}),
		in("swap the entries of a batch", func(b []byte, at []int) []byte {
			body := b[at[mid(at)]+head : at[mid(at)+1]]
			lines := bytes.SplitAfter(bytes.Clone(body), []byte{'\n'})
			slices.Reverse(lines)
			copy(body, slices.Concat(lines...))
			return b
		}),
		in("swap two batches", func(b []byte, at []int) []byte {
			i := min(mid(at), len(at)-3)
			if i < 0 {
				return b[:at[0]]
			}
			copy(b[at[i]:at[i+2]], slices.Concat(b[at[i+1]:at[i+2]], b[at[i]:at[i+1]]))
			return b
		}),
		in("swap two batches' bodies", func(b []byte, at []int) []byte {
			i := min(mid(at), len(at)-3)
			if i < 0 {
				return b[:at[0]]
			}
			copy(b[at[i]+head:at[i+2]], slices.Concat(b[at[i+1]+head:at[i+2]], b[at[i+1]:at[i+1]+head], b[at[i]+head:at[i+1]]))
			return b
		}),
		in("zeros in a batch", func(b []byte, at []int) []byte { clear(b[at[mid(at)]+head+4 : at[mid(at)]+head+12]); return b }),
		in("zeros for a batch's header", func(b []byte, at []int) []byte { clear(b[at[mid(at)]:][:head]); return b }),
		in("zeros for a batch", func(b []byte, at []int) []byte { clear(b[at[mid(at)]:at[mid(at)+1]]); return b }),
		in("zeros for the last batch", func(b []byte, at []int) []byte { clear(b[at[len(at)-2]:at[len(at)-1]]); return b }),
		in("zeros from the middle of a batch on", func(b []byte, at []int) []byte { clear(b[at[mid(at)]+head+7:]); return b }),
		in("zeros for all batches", func(b []byte, at []int) []byte { clear(b[at[0]:at[len(at)-1]]); return b }),
		in("zeros for the table", func(b []byte, at []int) []byte { clear(b[at[len(at)-1]:max(len(b)-64, at[len(at)-1])]); return b }),
		in("zeros after the end", func(b []byte, _ []int) []byte { return append(b, make([]byte, 5000)...) }),
		in("other bytes after the end", func(b []byte, _ []int) []byte { return append(b, "other bytes"...) }),
		in("zeros for the whole file", func(b []byte, _ []int) []byte { clear(b); return b }),
		{fmt.Sprintf("segment %d: remove the file", n), func(s damagedStore) {
			paths := s.segments()
			s.must(os.Remove(paths[min(n, len(paths)-1)]))
		}},
	}
	return ds
}

// otherDamages are the ways to damage the index and the blobs, alone or along with segments.
func otherDamages() []damage {
	const stride = segment.RecordSize + 1
	records := func(name string, fn func(b []byte) []byte) damage {
		return damage{"records: " + name, func(s damagedStore) { s.edit(s.records(), fn) }}
	}
	// blobs calls fn for the blobs of some entries, if they have any.
	blobs := func(name string, indices []uint64, fn func(s damagedStore, path string)) damage {
		return damage{"blobs: " + name, func(s damagedStore) {
			for _, index := range indices {
				if _, err := os.Stat(s.blob(index)); err == nil {
					fn(s, s.blob(index))
				}
			}
		}}
	}
	remove := func(s damagedStore, path string) { s.must(os.Remove(path)) }
	flip := func(s damagedStore, path string) { s.edit(path, func(b []byte) []byte { b[3] ^= 1; return b }) }
	var all []uint64
	for index := uint64(1); index <= damageEntries; index++ {
		all = append(all, index)
	}
	both := func(a, b damage) damage {
		return damage{a.name + "; " + b.name, func(s damagedStore) { a.do(s); b.do(s) }}
	}
	firstBody := damage{"segment 0: flip the first body", func(s damagedStore) {
		path := s.segments()[0]
		at := s.batches(path)
		s.edit(path, func(b []byte) []byte { b[at[0]+segment.BatchHeaderSize+4] ^= 1; return b })
	}}
	ds := []damage{
		records("flip the first", func(b []byte) []byte { b[5] ^= 1; return b }),
		records("flip one in the middle", func(b []byte) []byte { b[stride*30+40] ^= 1; return b }),
		records("flip the last", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		records("flip a length", func(b []byte) []byte { b[stride*7] ^= 1; return b }),
		records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] }),
		records("cut after a record", func(b []byte) []byte { return b[:stride*50] }),
		records("cut all", func(b []byte) []byte { return nil }),
		records("zeros in the middle", func(b []byte) []byte { clear(b[stride*20 : stride*23]); return b }),
		records("zeros after the end", func(b []byte) []byte { return append(b, make([]byte, 1000)...) }),
		records("swap two", func(b []byte) []byte {
			one, two := b[stride*4:stride*5], b[stride*9:stride*10]
			x := bytes.Clone(one)
			copy(one, two)
			copy(two, x)
			return b
		}),
		records("shift", func(b []byte) []byte { return slices.Insert(b, stride*10, 0) }),
		{"records: remove the file", func(s damagedStore) { s.must(os.Remove(s.records())) }},
		{"records: remove the directory", func(s damagedStore) { s.must(os.RemoveAll(filepath.Dir(s.records()))) }},
		blobs("remove one", []uint64{7}, remove),
		blobs("remove the first", []uint64{1}, remove),
		blobs("remove some", []uint64{3, 4, 5, 20, 59, 60}, remove),
		blobs("remove all", all, remove),
		blobs("flip one", []uint64{8}, flip),
		blobs("flip some", []uint64{1, 2, 30, 31, 60}, flip),
		blobs("cut one", []uint64{9}, func(s damagedStore, path string) { s.must(os.Truncate(path, 4)) }),
		blobs("empty one", []uint64{9}, func(s damagedStore, path string) { s.must(os.Truncate(path, 0)) }),
		blobs("lengthen one", []uint64{9}, func(s damagedStore, path string) {
			s.edit(path, func(b []byte) []byte { return append(b, ' ') })
		}),
		blobs("another's content", []uint64{9}, func(s damagedStore, path string) {
			s.must(os.WriteFile(path, []byte(damageEntry(16)), 0o600))
		}),
		{"blobs: remove the directory", func(s damagedStore) { s.must(os.RemoveAll(filepath.Join(s.dir, "blobs"))) }},
		both(firstBody, blobs("remove the first", []uint64{1, 2}, remove)),
		both(firstBody, records("flip the first", func(b []byte) []byte { b[5] ^= 1; return b })),
		both(firstBody, records("cut all", func(b []byte) []byte { return nil })),
		both(firstBody, records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] })),
		both(damage{"segment 0: remove the file", func(s damagedStore) { s.must(os.Remove(s.segments()[0])) }}, blobs("remove some", []uint64{2, 3}, remove)),
	}
	for _, d := range segmentDamages(1) {
		switch strings.TrimPrefix(d.name, "segment 1: ") {
		case "shift a batch's bytes up", "zeros for a batch", "swap two batches", "flip a batch's magic", "cut in a batch's body":
			ds = append(ds,
				both(d, blobs("remove all", all, remove)),
				both(d, blobs("flip some", []uint64{1, 2, 30, 31, 60}, flip)),
				both(d, records("cut in the middle", func(b []byte) []byte { return b[:stride*30+7] })),
				both(d, records("zeros in the middle", func(b []byte) []byte { clear(b[stride*20 : stride*45]); return b })))
		}
	}
	return ds
}
