package cli

import (
	"strings"
	"testing"
	"time"
)

// TestParseTime: the ways to write a time, and the errors for others.
func TestParseTime(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, zone)
	for _, tt := range []struct{ text, want string }{
		{"2026-11-28T09:00:00Z", "2026-11-28T09:00:00Z"},
		{"2026-11-28T09:00:00.25+02:00", "2026-11-28T07:00:00.25Z"},
		{"2026-03-09", "2026-03-08T23:00:00Z"}, // midnight in the zone
		{"1h", "2026-03-10T10:00:00Z"},
		{"2d", "2026-03-08T11:00:00Z"},
		{"1w", "2026-03-03T11:00:00Z"},
		{"1h30m", "2026-03-10T09:30:00Z"},
		{"1d1s", "2026-03-09T10:59:59Z"},
		{"90s", "2026-03-10T10:58:30Z"},
	} {
		got, err := parseTime(tt.text, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != tt.want {
			t.Errorf("%q is %v, %v, want %s", tt.text, got.UTC(), err, tt.want)
		}
	}
	for text, says := range map[string]string{
		"":                    `"" is not a time, want one such as`,
		"yesterday":           "or how long ago, such as 90s, 1h30m or 2d",
		"h":                   "is not a time",
		"-1h":                 "is not a time",
		"1.5h":                "is not a time",
		"30m1h":               "is not a time",
		"1h ago":              "is not a time",
		"2026-02-30":          "is not a time",
		"1732784400":          "is not a time",
		"2026-11-28 09:00:00": "; write 2026-11-28T09:00:00Z, or another offset from UTC",
		"2026-11-28T09:00:00": "; it has no offset from UTC, such as Z or +01:00: write 2026-11-28T09:00:00Z",
	} {
		if got, err := parseTime(text, now); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is %v, %v, want an error with %q", text, got, err, says)
		}
	}
}
