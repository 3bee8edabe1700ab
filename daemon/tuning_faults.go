//go:build faults

package daemon

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"tcp-log-server/engine"
)

// tune makes sealing, settling and removal as frequent as the environment says, so that a test sees them
// within seconds: FAULT_SEGMENT_SIZE in bytes, FAULT_REMOVE_AFTER and FAULT_SETTLE_EVERY as durations.
func tune(c engine.Config) (engine.Config, error) {
	if s := os.Getenv("FAULT_SEGMENT_SIZE"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return c, fmt.Errorf("FAULT_SEGMENT_SIZE is %q, want a number of bytes", s)
		}
		c.SegmentSize = n
	}
	for name, field := range map[string]*time.Duration{
		"FAULT_REMOVE_AFTER": &c.RemoveAfter,
		"FAULT_SETTLE_EVERY": &c.SettleEvery,
	} {
		if s := os.Getenv(name); s != "" {
			d, err := time.ParseDuration(s)
			if err != nil {
				return c, fmt.Errorf("%s is %q, want a duration such as 20ms", name, s)
			}
			*field = d
		}
	}
	return c, nil
}
