package legacy

import (
	"encoding/hex"
	"fmt"
)

// unpackIndex decodes an index as the npm package lexicographic-integer writes it
// in hex, through 2^32+250: numbers below 251 in a byte, greater ones less 251
// behind a byte that tells their length.
func unpackIndex(s []byte) (uint64, error) {
	b, err := hex.DecodeString(string(s))
	switch {
	case err != nil:
	case len(b) == 1 && b[0] < 251:
		return uint64(b[0]), nil
	case len(b) >= 2 && len(b) <= 5 && int(b[0]) == 249+len(b):
		n := uint64(0)
		for _, c := range b[1:] {
			n = n<<8 | uint64(c)
		}
		return n + 251, nil
	}
	return 0, fmt.Errorf("%w: %.40q is no index", ErrFormat, s)
}
