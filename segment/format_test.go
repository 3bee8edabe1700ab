package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

var testStore = StoreID{0xde, 0xad, 0xbe, 0xef, 15: 1}

// resum writes the checksum of b[:len-4] into its last four bytes, so that a
// test of a limit is not stopped by the checksum before it.
func resum(b []byte) {
	binary.LittleEndian.PutUint32(b[len(b)-4:], Checksum(b[:len(b)-4]))
}

// refusal is a way to spoil an encoded structure and the parser's error.
type refusal struct {
	name  string
	spoil func(b []byte) []byte
	is    error
	says  string
}

// flips returns a refusal for every single bit of a structure of n bytes.
func flips(n int) []refusal {
	var rs []refusal
	for bit := range 8 * n {
		rs = append(rs, refusal{"flipped bit", func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b }, ErrDamaged, ""})
	}
	return rs
}

func summed(change func(b []byte)) func([]byte) []byte {
	return func(b []byte) []byte { change(b); resum(b); return b }
}

func checkRefusals(t *testing.T, whole []byte, rs []refusal, parse func([]byte) error) {
	t.Helper()
	if err := parse(whole); err != nil {
		t.Fatalf("whole: %v", err)
	}
	for _, r := range rs {
		err := parse(r.spoil(bytes.Clone(whole)))
		if !errors.Is(err, r.is) || !strings.Contains(err.Error(), r.says) {
			t.Errorf("%s: error is %v, want %v with %q", r.name, err, r.is, r.says)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	h := Header{Store: testStore, First: 1<<40 + 7, Created: 1750000000123456, Prev: 0xcafe1234}
	b := h.appendTo(nil)
	if len(b) != HeaderSize {
		t.Fatalf("header has %d bytes, want %d", len(b), HeaderSize)
	}
	got, err := ParseHeader(append(b, "more"...))
	if err != nil || got != h {
		t.Fatalf("parsed %+v, %v, want %+v", got, err, h)
	}
	checkRefusals(t, b, append(flips(HeaderSize),
		refusal{"empty", func(b []byte) []byte { return nil }, ErrDamaged, "0 bytes, want 64"},
		refusal{"short", func(b []byte) []byte { return b[:63] }, ErrDamaged, "63 bytes, want 64"},
		refusal{"zeros", func(b []byte) []byte { return make([]byte, 64) }, ErrDamaged, "magic"},
		refusal{"magic", summed(func(b []byte) { b[0] = 'X' }), ErrDamaged, `"XCPLSEG\n", want "TCPLSEG\n"`},
		refusal{"later version", summed(func(b []byte) { b[8] = 2 }), ErrVersion, "format is 2, this program reads 1"},
		refusal{"index 0", summed(func(b []byte) { clear(b[32:40]) }), ErrDamaged, "first index 0"},
	), func(b []byte) error { _, err := ParseHeader(b); return err })

	// A later version is intact: it must not be called damaged.
	later := summed(func(b []byte) { b[8] = 2 })(bytes.Clone(b))
	if _, err := ParseHeader(later); errors.Is(err, ErrDamaged) {
		t.Errorf("a later version is called damaged: %v", err)
	}
}

func TestBatchHeader(t *testing.T) {
	t.Parallel()
	h := BatchHeader{Size: 30, First: 12, Count: 10, Prev: 1, Time: -5, Synced: 1 << 33, Body: 0xffffffff}
	b := make([]byte, BatchHeaderSize)
	h.put(b)
	got, err := ParseBatchHeader(append(b, "body"...))
	if err != nil || got != h {
		t.Fatalf("parsed %+v, %v, want %+v", got, err, h)
	}
	if got.Last() != 21 || got.Lost() {
		t.Errorf("last is %d, lost %v, want 21 and false", got.Last(), got.Lost())
	}
	size := func(size, count uint32) func([]byte) []byte {
		return summed(func(b []byte) {
			binary.LittleEndian.PutUint32(b[4:], size)
			binary.LittleEndian.PutUint32(b[16:], count)
		})
	}
	checkRefusals(t, b, append(flips(BatchHeaderSize),
		refusal{"short", func(b []byte) []byte { return b[:47] }, ErrDamaged, "47 bytes, want 48"},
		refusal{"zeros", func(b []byte) []byte { return make([]byte, 48) }, ErrDamaged, "magic"},
		refusal{"magic", summed(func(b []byte) { b[3] = 'h' }), ErrDamaged, `"BTCh", want "BTCH"`},
		refusal{"no entries", size(30, 0), ErrDamaged, "batch of 0 entries"},
		refusal{"index 0", summed(func(b []byte) { clear(b[8:16]) }), ErrDamaged, "from index 0"},
		refusal{"too large", size(MaxBody+1, 1), ErrDamaged, "1 entries in 1073741825 bytes"},
		refusal{"smaller than its entries can be", size(29, 10), ErrDamaged, "10 entries in 29 bytes"},
		refusal{"last index beyond 64 bits", summed(func(b []byte) { copy(b[8:16], "\xff\xff\xff\xff\xff\xff\xff\xff") }), ErrDamaged, "10 entries from index"},
	), func(b []byte) error { _, err := ParseBatchHeader(b); return err })

	lost, err := ParseBatchHeader(size(0, 1<<31)(bytes.Clone(b)))
	if err != nil || !lost.Lost() {
		t.Errorf("a batch of lost entries: %+v, %v", lost, err)
	}
}

func TestFooter(t *testing.T) {
	t.Parallel()
	f := Footer{Table: 4096, First: 9, Last: 20, Batches: 3, Sum: 7, Rows: 8}
	const size = 4096 + 3*RowSize + FooterSize
	b := f.appendTo(nil)
	if len(b) != FooterSize {
		t.Fatalf("footer has %d bytes, want %d", len(b), FooterSize)
	}
	got, ok, err := ParseFooter(b, size)
	if err != nil || !ok || got != f {
		t.Fatalf("parsed %+v, %v, %v, want %+v", got, ok, err, f)
	}
	changed := func(change func(f *Footer)) func([]byte) []byte {
		return func([]byte) []byte { f := f; change(&f); return f.appendTo(nil) }
	}
	rs := []refusal{
		{"one batch more", changed(func(f *Footer) { f.Batches++ }), ErrDamaged, "file of 4192 bytes, it has 4184"},
		{"table elsewhere", changed(func(f *Footer) { f.Table -= 8 }), ErrDamaged, "file of 4176 bytes, it has 4184"},
		{"table before the header's end", changed(func(f *Footer) { f.Table = 63 }), ErrDamaged, "footer describes"},
		{"table far beyond", changed(func(f *Footer) { f.Table = 1<<64 - 64 }), ErrDamaged, "batches through offset"},
		{"index 0", changed(func(f *Footer) { f.First = 0 }), ErrDamaged, "indices 0 to 20"},
		{"last before first", changed(func(f *Footer) { f.Last = 8 }), ErrDamaged, "indices 9 to 8"},
		{"fewer entries than batches", changed(func(f *Footer) { f.Last = 10 }), ErrDamaged, "3 batches for indices 9 to 10"},
	}
	checkRefusals(t, b, rs, func(b []byte) error {
		_, ok, err := ParseFooter(b, size)
		if err != nil && !ok {
			t.Errorf("not ok for a footer that is whole: %v", err)
		}
		return err
	})
	for bit := range 8 * FooterSize {
		b := bytes.Clone(b)
		b[bit/8] ^= 1 << (bit % 8)
		if f, ok, err := ParseFooter(b, size); ok || (err == nil) != (bit < 64) {
			t.Fatalf("flipped bit %d: %+v, %v, %v", bit, f, ok, err)
		}
	}
	if _, ok, err := ParseFooter(b[:63], size); ok || err != nil {
		t.Errorf("short: %v, %v", ok, err)
	}
	if f := (Footer{Table: 64, First: 1, Last: 1}); true {
		if _, _, err := ParseFooter(f.appendTo(nil), 64+FooterSize); !errors.Is(err, ErrDamaged) {
			t.Errorf("no batches: %v", err)
		}
	}
}

func TestRow(t *testing.T) {
	t.Parallel()
	for _, r := range []Row{{}, {1, 2}, {1<<32 - 1, 1<<32 - 1}} {
		if got := ParseRow(AppendRow(nil, r)); got != r {
			t.Errorf("parsed %v, want %v", got, r)
		}
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	r := Record{Hash: Sum([]byte("{}")), Time: 1750000000123456, Size: 2}
	stored := func(r Record, index uint64) []byte { return r.appendTo([]byte{RecordSize}, index) }
	b := stored(r, 77)
	if len(b) != recordStride {
		t.Fatalf("record takes %d bytes, want %d", len(b), recordStride)
	}
	got, err := parseRecord(append(b, "more"...), 77)
	if err != nil || got != r {
		t.Fatalf("parsed %+v, %v, want %+v", got, err, r)
	}
	checkRefusals(t, b, append(flips(recordStride),
		refusal{"short", func(b []byte) []byte { return b[:48] }, ErrDamaged, "48 bytes, want 49"},
		refusal{"zeros", func(b []byte) []byte { return make([]byte, recordStride) }, ErrDamaged, "length prefix 0, want 48"},
		refusal{"zeros behind a prefix", func(b []byte) []byte { clear(b[1:]); return b }, ErrDamaged, "checksum"},
		refusal{"another index's", func([]byte) []byte { return stored(r, 78) }, ErrDamaged, "checksum"},
	), func(b []byte) error { _, err := parseRecord(b, 77); return err })
}

func TestParseStoreID(t *testing.T) {
	t.Parallel()
	if id, ok := ParseStoreID(testStore.String()); !ok || id != testStore {
		t.Errorf("%s is read as %s, %v", testStore, id, ok)
	}
	for _, text := range []string{"", "00", testStore.String() + "00", testStore.String()[1:], strings.Repeat("x", 32)} {
		if id, ok := ParseStoreID(text); ok {
			t.Errorf("%q is read as %s", text, id)
		}
	}
}
