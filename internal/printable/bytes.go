package printable

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseBytes parses a number of bytes with or without a unit: 1048576, 512KiB, 10MiB, 1.5GiB, 2TiB.
// K, M, G and T mean the same units.
func ParseBytes(text string) (int64, error) {
	number, unit := text, 1.0
	for i, name := range []string{"K", "M", "G", "T"} {
		for _, suffix := range []string{name + "iB", name} {
			if n, ok := strings.CutSuffix(text, suffix); ok && number == text {
				number, unit = n, math.Pow(1024, float64(i+1))
			}
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n < 0 || n*unit >= 1<<62 || n != n {
		return 0, fmt.Errorf("%q is not a number of bytes, want one like 1048576, 512KiB, 10MiB or 1GiB", text)
	}
	return int64(n * unit), nil
}

// Bytes returns n bytes in a suitable unit.
func Bytes(n int64) string {
	unit, f := "B", float64(n)
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		unit, f = next, f/1024
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
