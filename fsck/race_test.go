//go:build race

package fsck

// How many bits and changes apart those are that tests try: not all of them,
// where everything takes ten times as long.
const (
	bitStep    = 17
	changeStep = 3
	wreckStep  = 67
)
