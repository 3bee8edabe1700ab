package segment

import (
	"errors"
	"fmt"
	"testing"
)

func TestFirstSince(t *testing.T) {
	for _, c := range []struct {
		times []int64 // of the entries from 5 on
		at    int64
		want  uint64
	}{
		{nil, 1, 5},
		{[]int64{1, 2, 3}, 0, 5},
		{[]int64{1, 2, 3}, 2, 6},
		{[]int64{1, 2, 3}, 4, 8},
		{[]int64{1, 2, 2, 2, 3}, 2, 6},
		{[]int64{0, 0, 3}, 2, 5}, // entries whose time is not known count as the next
		{[]int64{1, 2, 0, 0, 3}, 3, 7},
		{[]int64{1, 0, 0, 0, 0}, 2, 6},
		{[]int64{1, 2, 3, 0, 0, 0, 0}, 2, 6},
		{[]int64{0, 0, 0}, 1, 5},
	} {
		t.Run(fmt.Sprint(c.times, c.at), func(t *testing.T) {
			got, err := FirstSince(5, 4+uint64(len(c.times)), c.at, func(i uint64) (int64, error) { return c.times[i-5], nil })
			if got != c.want || err != nil {
				t.Errorf("it is %d, %v, want %d", got, err, c.want)
			}
		})
	}
	fails := errors.New("unreadable")
	if _, err := FirstSince(1, 9, 1, func(uint64) (int64, error) { return 0, fails }); err != fails {
		t.Errorf("error %v, want that of timeAt", err)
	}
}
