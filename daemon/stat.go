package daemon

import (
	"math"
	"time"

	"tcp-log-server/internal/build"
	"tcp-log-server/server"
)

// Stat is the answer of a daemon to {"stat":true}. docs/CLI.md explains its members.
type Stat struct {
	// Rights is "write" in the answer to a peer that may only write, which has nothing else
	// but the Capabilities, and empty otherwise.
	Rights      string  `json:"rights,omitempty"`
	Version     string  `json:"version"`
	Uptime      float64 `json:"uptime"` // s
	Store       string  `json:"store"`  // the random name of the log
	Head        uint64  `json:"head"`
	Settled     uint64  `json:"settled"`
	Loose       int     `json:"loose"` // blob files, -1 where they are not counted
	Packed      uint64  `json:"packed"`
	Segments    int     `json:"segments"`
	Bytes       int64   `json:"bytes"`
	Appends     Appends `json:"appends"`
	Connections int     `json:"connections"`
	Readers     int     `json:"readers"`
	Failed      string  `json:"failed,omitempty"` // why appends are refused
	server.Capabilities
	Settings map[string]any `json:"settings"`
}

// Appends counts what has been appended since the start.
type Appends struct {
	Entries uint64  `json:"entries"`
	Bytes   uint64  `json:"bytes"`
	Rate    float64 `json:"rate"` // entries a second, over the last seconds
}

// newStat returns the function that makes the daemon's answer. It may be called once the
// daemon serves.
func newStat(d *daemon) func() any {
	version, began, settings := build.This().String(), time.Now(), d.config.shown()
	return func() any {
		l, s := d.log.Stats(), d.srv.Stats()
		answer := Stat{
			Version: version, Uptime: math.Round(time.Since(began).Seconds()*10) / 10,
			Store: d.log.Store(), Head: l.Head, Settled: l.Settled, Loose: l.Loose, Packed: l.Packed, Segments: l.Segments, Bytes: l.Bytes,
			Appends:     Appends{Entries: l.Entries, Bytes: l.Written, Rate: math.Round(l.Rate*10) / 10},
			Connections: s.Connections, Readers: s.Replays + s.Followers,
			Capabilities: d.srv.Capabilities(),
			Settings:     settings,
		}
		if err := d.log.Refusing(); err != nil {
			answer.Failed = err.Error()
		}
		return answer
	}
}
