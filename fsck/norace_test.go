//go:build !race

package fsck

// How many bits and changes apart those are that tests try: all of them.
const (
	bitStep    = 1
	changeStep = 1
	wreckStep  = 23
)
