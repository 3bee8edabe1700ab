package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ago matches a time in the past: one or more pairs of a number and a unit.
var ago = regexp.MustCompile(`^(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$`)

// agoUnits are the units that ago matches.
var agoUnits = []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second}

// parseTime parses the value of --since or --until: an RFC 3339 time; a date, which means its
// first moment in the time zone of now; or how long before now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return t, nil
	}
	if parts := ago.FindStringSubmatch(text); parts != nil && text != "" {
		t := now
		for i, unit := range agoUnits {
			n, _ := strconv.Atoi(parts[1+i]) // 0 if there is none
			t = t.Add(-time.Duration(n) * unit)
		}
		return t, nil
	}
	hint := ""
	if t, err := time.Parse("2006-01-02 15:04:05", text); err == nil {
		hint = "; write " + t.Format("2006-01-02T15:04:05") + "Z, or another offset from UTC"
	} else if t, err := time.Parse("2006-01-02T15:04:05", text); err == nil {
		hint = "; it has no offset from UTC, such as Z or +01:00: write " + t.Format(time.RFC3339)
	}
	return time.Time{}, fmt.Errorf("%q is not a time, want one such as 2026-11-28T09:00:00Z, a date such as 2026-11-28, or how long ago, such as 90s, 1h30m or 2d%s", text, hint)
}
