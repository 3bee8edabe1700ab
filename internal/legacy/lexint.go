package legacy

import (
	"encoding/hex"
	"fmt"
)

// unpackIndex decodes an index, up to 2^32+250, that the npm package lexicographic-integer wrote in
// hex. A number below 251 is one byte. For others, the first byte gives the length of the number
// minus 251, which follows.
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
	return 0, fmt.Errorf("%w: %.40q is not an index", ErrFormat, s)
}
