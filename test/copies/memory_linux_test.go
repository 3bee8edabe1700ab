package copies

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFsckMemory checks archives of different sizes: fsck needs no more memory for the large one than
// for the small one.
func TestFsckMemory(t *testing.T) {
	t.Parallel()
	const size, entrySize = 64, 160 // including its share of its batch
	small, large := 30<<20, 300<<20
	if testing.Short() {
		small, large = 20<<20, 100<<20
	}
	s3 := Start(t)
	env := s3.Env(s3.Endpoint)
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, env, data, "ARCHIVE="+s3.URL, "ARCHIVE_EVERY=1s", "ARCHIVE_RATE=10GiB", "LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=8388608")
	c := p.dial(t)
	var peaks []int64
	head := uint64(0)
	for _, total := range []int{small, large} {
		through := uint64(total / entrySize)
		fill(t, c, head+1, through, size)
		head = through
		p.await(t, c, "everything is archived", func(s status) bool { return archived(s) && s.Settled == s.Head })
		peak, out := peakMemory(t, append(env[:len(env):len(env)], "GOGC=20"), // little garbage
			"fsck", "--json", s3.URL)
		if !bytes.Contains(out, fmt.Appendf(nil, `"entries":%d,`, head)) {
			t.Fatalf("fsck printed %s, want %d entries", tail(out), head)
		}
		peaks = append(peaks, peak)
		t.Logf("%d entries: %d MiB at most", head, peak>>20)
	}
	// A hash of each entry would be 32 bytes.
	if more := peaks[1] - peaks[0]; more > int64(head)*10 {
		t.Errorf("fsck took %d MiB for %d MiB, and %d MiB for %d MiB", peaks[0]>>20, small>>20, peaks[1]>>20, large>>20)
	}
}

// peakMemory runs a command and returns its peak of resident memory, read from its status: the figure
// that the kernel reports for an ended process includes the memory of its parent.
func peakMemory(t *testing.T, env []string, args ...string) (peak int64, out []byte) {
	t.Helper()
	cmd := command(t, env, args...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil || peak == 0 {
				t.Fatalf("%v: %v, %d bytes: %s", args, err, peak, tail(text.Bytes()))
			}
			return peak, text.Bytes()
		case <-time.After(time.Millisecond):
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)) // it may have ended just now
		if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
			kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if n, err := strconv.ParseInt(kilobytes, 10, 64); err == nil {
				peak = max(peak, n<<10)
			}
		}
	}
}
