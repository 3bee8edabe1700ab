package replicated

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFetchPacked: the unpacked size bounds the answer to one request, and a read finds everything, even
// after messages so small that many are requested at once.
func TestFetchPacked(t *testing.T) {
	t.Parallel()
	const small, large, size = 300, 40, 300 << 10
	f := newFake(t)
	var want []string
	for i := range small + large {
		entry := fmt.Sprintf(`{"i":%d}`, i)
		if i >= small {
			entry = fmt.Sprintf(`{"i":%d,"text":"%s"}`, i, strings.Repeat("x", size))
		}
		f.put(message{}, entry)
		want = append(want, entry)
	}
	if stored := len(f.stored[small].data); stored > size/10 {
		t.Fatalf("a message of equal bytes has %d bytes, want few", stored)
	}
	l := f.gateway(time.Minute)
	total := 0
	for _, m := range l.batchOfAny(t.Context(), small+1, small+large) {
		total += headerSize + len(m.body)
	}
	if total < size || total > 2*fetchBytes+size+headerSize+100 {
		t.Errorf("one request has brought %d bytes, want about %d", total, 2*fetchBytes)
	}
	if got := readAll(t, l, 1, uint64(len(want))); !slices.Equal(got, want) {
		t.Error("a read of all entries brought others")
	}
}
