package replicated

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
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

// TestExample compares the hexdump in docs/FORMAT.md with the example message.
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
	bodies := []string{"", "1\n", "{\"a\":\"b\"}\n", strings.Repeat("[]\n", 100_000), "\"" + noise(packFrom) + "\"\n"}
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

// noise is text that does not compress.
func noise(size int) string {
	b := make([]byte, size*3/4)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// long is example with a body that is compressed.
func long() message {
	m := example()
	m.count, m.body = 100, nil
	for i := range m.count {
		m.body = fmt.Appendf(m.body, `{"number":%d,"text":"%.20s"}`+"\n", i, noise(8000)[20*i:])
	}
	return m
}

// TestPacked: a body is compressed if that makes it smaller.
func TestPacked(t *testing.T) {
	small, noisy, big := example(), example(), long()
	noisy.body, noisy.count = []byte("\""+noise(packFrom)+"\"\n"), 1
	for _, c := range []struct {
		name string
		m    message
		want coding
	}{{"few bytes", small, asIs}, {"noise", noisy, asIs}, {"many entries", big, packed}} {
		size := headerSize + len(c.m.body)
		stored := c.m.encode()
		if how := coding(binary.LittleEndian.Uint16(stored[10:])); how != c.want || how == packed && len(stored) >= size || how == asIs && len(stored) != size {
			t.Errorf("%s: stored in the way %d with %d bytes of %d, want %d", c.name, how, len(stored), size, c.want)
		}
	}
}

// TestDamagedMessage flips each bit of a message, and cuts it at each byte.
func TestDamagedMessage(t *testing.T) {
	for _, m := range []message{example(), long()} {
		whole := m.encode()
		for i := range whole {
			if _, err := decode(whole[:i], 41); !errors.Is(err, errMessage) {
				t.Fatalf("cut to %d bytes: %v, want damage", i, err)
			}
			for bit := range 8 {
				b := []byte(string(whole))
				b[i] ^= 1 << bit
				// The same text can be compressed in more than one way.
				if got, err := decode(b, 41); !errors.Is(err, errMessage) && !(i >= headerSize && err == nil && same(got, m)) {
					t.Fatalf("bit %d of byte %d is flipped: %v, want damage", bit, i, err)
				}
			}
		}
	}
}

// TestHostileBody decodes messages whose checksum is right but whose body is not what it claims to be.
func TestHostileBody(t *testing.T) {
	m := long()
	whole := m.encode()
	if how := coding(binary.LittleEndian.Uint16(whole[10:])); how != packed {
		t.Fatalf("stored in the way %d, want %d", how, packed)
	}
	for _, c := range []struct{ name, body, want string }{
		{"nothing", "", "cannot be read"},
		{"no length", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "cannot be read"},
		{"4 GiB", "\xff\xff\xff\xff\x0f\x00", "claims to have 4294967295 bytes"},
		{"a byte over the limit", "\x81\x80\x80\x20\x00", "claims to have 67108865 bytes"},
		{"less than it claims", "\x05\x00a", "cannot be read"},
		{"a copy of what is not there", "\x04\x01\x05", "cannot be read"},
	} {
		_, err := decode(append(whole[:headerSize:headerSize], c.body...), 41)
		if !errors.Is(err, errMessage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want damage that says %q", c.name, err, c.want)
		}
	}
	binary.LittleEndian.PutUint16(whole[10:], uint16(packed)+1)
	if _, err := decode(whole, 41); !errors.Is(err, errMessage) || !strings.Contains(err.Error(), "a later version may know it") {
		t.Errorf("stored in an unknown way: %v", err)
	}
}

// TestWrongMessage decodes messages that are whole but impossible.
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

// FuzzDecode checks that a decoded message encodes to the same bytes if it is not compressed, and
// otherwise to the same message.
func FuzzDecode(f *testing.F) {
	m := example()
	whole := m.encode()
	f.Add(whole, uint64(41))
	f.Add(whole[:headerSize], uint64(1))
	f.Add([]byte(magic), uint64(0))
	m.kind = 9
	f.Add(m.encode(), uint64(50))
	m = long()
	f.Add(m.encode(), uint64(41))
	f.Fuzz(func(t *testing.T, b []byte, seq uint64) {
		if len(b) >= headerSize { // otherwise hardly any would be whole
			if body, err := unpack(b); err == nil {
				sum := checksum(b, body)
				copy(b[sumAt:], sum[:])
			}
		}
		m, err := decode(b, seq)
		if err != nil {
			if !errors.Is(err, errMessage) && !errors.Is(err, errVersion) {
				t.Fatalf("%v, want damage or a later version", err)
			}
			return
		}
		if m.stray {
			return // its place is not kept
		}
		again := m
		got := again.encode()
		if len(m.body) < packFrom && coding(binary.LittleEndian.Uint16(b[10:])) == asIs && string(got) != string(b) {
			t.Fatalf("%x becomes %x", b, got)
		}
		if back, err := decode(got, seq); err != nil || back.count != m.count || string(back.body) != string(m.body) || back.hint != m.hint {
			t.Fatalf("%x becomes %x: %v", b, got, err)
		}
	})
}
