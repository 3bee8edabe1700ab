package cli

import (
	"math"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/internal/build"
)

// stat is the answer to {"stat":true}. docs/CLI.md says what its members mean.
type stat struct {
	Version     string         `json:"version"`
	Uptime      float64        `json:"uptime"` // s
	Head        uint64         `json:"head"`
	Settled     uint64         `json:"settled"`
	Loose       int            `json:"loose"` // blob files, -1 where they are not counted
	Packed      uint64         `json:"packed"`
	Segments    int            `json:"segments"`
	Bytes       int64          `json:"bytes"`
	Appends     appends        `json:"appends"`
	Connections int            `json:"connections"`
	Readers     int            `json:"readers"`
	Failed      string         `json:"failed,omitempty"` // why appends are refused
	Settings    map[string]any `json:"settings"`
}

// appends is what has been appended since the start.
type appends struct {
	Entries uint64  `json:"entries"`
	Bytes   uint64  `json:"bytes"`
	Rate    float64 `json:"rate"` // entries a second, over the last seconds
}

// newStat returns what makes the answer of the service, once that serves.
func newStat(of *service) func() any {
	version, began, settings := build.This().String(), time.Now(), shownSettings(of.cmd)
	return func() any {
		l, s := of.log.Stats(), of.srv.Stats()
		answer := stat{
			Version: version, Uptime: math.Round(time.Since(began).Seconds()*10) / 10,
			Head: l.Head, Settled: l.Settled, Loose: l.Loose, Packed: l.Packed, Segments: l.Segments, Bytes: l.Bytes,
			Appends:     appends{Entries: l.Entries, Bytes: l.Written, Rate: math.Round(l.Rate*10) / 10},
			Connections: s.Connections, Readers: s.Replays + s.Followers,
			Settings: settings,
		}
		if err := of.log.Refusing(); err != nil {
			answer.Failed = err.Error()
		}
		return answer
	}
}

// shownSettings are the settings that whoever may read the log may know: all but
// where the secrets of the server lie.
func shownSettings(cmd *cli.Command) map[string]any {
	shown := make(map[string]any)
	for _, f := range settings() {
		switch name := f.Names()[0]; name {
		case "tls-cert", "tls-key", "tls-client-ca", "tokens":
			shown[name] = cmd.String(name) != "" // whether, not where
		default:
			switch value := cmd.Value(name).(type) {
			case time.Duration:
				shown[name] = value.String()
			case string:
				if value != "" { // it follows from others
					shown[name] = value
				}
			default:
				shown[name] = value
			}
		}
	}
	return shown
}
