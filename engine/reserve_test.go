package engine

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// TestReserve: a call that opens files for the log gets the reserved descriptors, some at a
// time, while other goroutines take some of those that are freed, until none are left.
func TestReserve(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	for _, tt := range []struct {
		lost  int   // how often others are quicker
		then  error // the result of the attempt after that
		tries int
		want  error
	}{
		{0, nil, 1, nil},
		{0, other, 1, other},
		{1, nil, 2, nil},
		{2, other, 3, other},
		{reserveFiles / reserveStep, nil, 1 + reserveFiles/reserveStep, nil},
		{100, nil, 1 + reserveFiles/reserveStep, syscall.EMFILE},
	} {
		var r reserve
		r.fill()
		tries := 0
		err := r.lend(func() error {
			if want := reserveFiles - tries*reserveStep; len(r.files) != want {
				t.Errorf("try %d with %d descriptors in reserve, want %d", tries+1, len(r.files), want)
			}
			if tries++; tries <= tt.lost {
				return fmt.Errorf("open: %w", syscall.EMFILE)
			}
			return tt.then
		})
		if !errors.Is(err, tt.want) || tries != tt.tries {
			t.Errorf("others are quicker %d times: %d tries, error %v, want %d and %v", tt.lost, tries, err, tt.tries, tt.want)
		}
		if len(r.files) != reserveFiles {
			t.Errorf("%d descriptors are in reserve afterwards, want %d", len(r.files), reserveFiles)
		}
		r.release(reserveFiles)
	}
}
