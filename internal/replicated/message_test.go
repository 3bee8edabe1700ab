package replicated

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"tcp-log-server/appends"
)

// example is the message of docs/FORMAT.md.
func example() message {
	return message{
		kind: appends.Once, count: 2, lane: 0xfeedbeef01020304, number: 7,
		hint: place{seq: 40, index: 1234, time: 1700000000000000, voids: voids{0b101}},
		arg:  39, time: 1700000000000123, body: []byte("{\"a\":1}\n[true]\n"),
	}
}

func same(a, b message) bool {
	return a.kind == b.kind && a.count == b.count && a.lane == b.lane && a.number == b.number && a.hint == b.hint &&
		a.arg == b.arg && a.time == b.time && string(a.body) == string(b.body) && a.sum == b.sum
}

// TestExample compares the hexdump in docs/FORMAT.md with the message that it shows.
func TestExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	m := example()
	want := hex.Dump(m.encode())
	if !strings.Contains(string(doc), want) {
		t.Errorf("docs/FORMAT.md lacks this message:\n%s", want)
	}
}

func TestMessage(t *testing.T) {
	bodies := []string{"", "1\n", "{\"a\":\"b\"}\n", strings.Repeat("[]\n", 100_000)}
	for _, kind := range []appends.Kind{appends.Always, appends.Expect, appends.Once} {
		for _, body := range bodies {
			m := example()
			m.kind, m.body, m.count = kind, []byte(body), strings.Count(body, "\n")
			m.hint.voids = voids{1, 2, 1 << 63}
			got, err := decode(m.encode(), 41)
			if err != nil || !same(got, m) {
				t.Errorf("%v, %d bytes: %+v, %v", kind, len(body), got, err)
			}
		}
	}
	m, parts := example(), example()
	whole := m.encode()
	parts.body = nil
	if b := parts.encode([]byte("{\"a\":1}\n"), []byte("[true]\n")); string(b) != string(whole) || !same(parts, m) {
		t.Errorf("a body in parts: %x, want %x", b, whole)
	}
}

// TestDamagedMessage flips each bit of a message, and cuts it at each byte.
func TestDamagedMessage(t *testing.T) {
	m := example()
	whole := m.encode()
	for i := range whole {
		if _, err := decode(whole[:i], 41); !errors.Is(err, errMessage) {
			t.Fatalf("cut to %d bytes: %v, want damage", i, err)
		}
		for bit := range 8 {
			b := []byte(string(whole))
			b[i] ^= 1 << bit
			if _, err := decode(b, 41); !errors.Is(err, errMessage) {
				t.Fatalf("bit %d of byte %d is flipped: %v, want damage", bit, i, err)
			}
		}
	}
}

// TestWrongMessage decodes messages that are whole, and cannot be.
func TestWrongMessage(t *testing.T) {
	cases := []struct {
		name   string
		change func(m *message)
		want   error
	}{
		{"too few lines", func(m *message) { m.count = 3 }, errMessage},
		{"too many lines", func(m *message) { m.count = 1 }, errMessage},
		{"an unfinished line", func(m *message) { m.body = append(m.body, '1') }, errMessage},
		{"no line", func(m *message) { m.count, m.body = 0, []byte("1") }, errMessage},
		{"a later version", func(m *message) { m.kind = appends.Once + 1 }, errVersion},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := example()
			c.change(&m)
			if _, err := decode(m.encode(), 41); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// FuzzDecode checks that what decodes encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	m := example()
	whole := m.encode()
	f.Add(whole, uint64(41))
	f.Add(whole[:headerSize], uint64(1))
	f.Add([]byte(magic), uint64(0))
	m.kind = 9
	f.Add(m.encode(), uint64(50))
	f.Fuzz(func(t *testing.T, b []byte, seq uint64) {
		if len(b) >= headerSize { // or hardly any would be whole
			sum := checksum(b)
			copy(b[sumAt:], sum[:])
		}
		m, err := decode(b, seq)
		if err != nil {
			if !errors.Is(err, errMessage) && !errors.Is(err, errVersion) {
				t.Fatalf("%v, want damage or a later version", err)
			}
			return
		}
		if m.stray {
			return // what it says of its place is not kept
		}
		again := m
		if got := again.encode(); string(got) != string(b) {
			t.Fatalf("%x becomes %x", b, got)
		}
	})
}
