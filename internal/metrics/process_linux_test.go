package metrics

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	// The fields are numbered as in proc(5); the program's name is the worst possible.
	stat := "2 (a ) b) S 4 5 6 7 8 9 10 11 12 13 1400 1500 16 17 18 19 20 21 22 23 24 25"
	u := unknown()
	u.parseStat([]byte(stat))
	want := usage{cpu: 29, resident: 24 * float64(os.Getpagesize()), mapped: 23, files: -1, maxFiles: -1, threads: 20}
	if u != want {
		t.Errorf("usage is %+v, want %+v", u, want)
	}
	for _, text := range []string{"", "2 (x)", "2 (x) S a b c d e f g h i j k l"} {
		u := unknown()
		u.parseStat([]byte(text))
		if u != unknown() {
			t.Errorf("usage of %q is %+v, want it unknown", text, u)
		}
	}
}

// TestUsage: opening a file changes the count.
func TestUsage(t *testing.T) {
	before := processUsage()
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	after := processUsage()
	if after.files != before.files+1 || after.maxFiles < after.files {
		t.Errorf("open files were %v and are %v of %v", before.files, after.files, after.maxFiles)
	}
	if after.cpu < before.cpu || after.resident < 1<<20 || after.mapped < after.resident || after.threads < 1 {
		t.Errorf("usage is %+v", after)
	}
}
