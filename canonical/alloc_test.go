package canonical

import "testing"

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	for _, tt := range []struct{ name, src string }{
		{"sorted", sorted200},
		{"unsorted", unsorted200},
		{"numbers", string(numbers())},
		{"escapes", `{"\u0062":"\u00e9\/\ud834\udd1e\u0001","\u0061":[1E3,0.10,12345678901234567]}`},
	} {
		src := []byte(tt.src)
		out := make([]byte, 0, 2*len(src))
		if n := testing.AllocsPerRun(1000, func() { out, _, _ = Append(out[:0], src) }); n != 0 {
			t.Errorf("Append allocates %v times for %s", n, tt.name)
		}
		if n := testing.AllocsPerRun(1000, func() { _, _ = Skip(src) }); n != 0 {
			t.Errorf("Skip allocates %v times for %s", n, tt.name)
		}
	}
}
