//go:build unix

package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
)

// TestWarnOfAccess: a start says that others can change the log, and only then.
func TestWarnOfAccess(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(data string) error
		says   string
	}{
		"nothing":             {func(string) error { return nil }, ""},
		"writable by all":     {func(data string) error { return os.Chmod(data, 0o777) }, "chmod o-w"},
		"blobs, by all":       {func(data string) error { return os.Chmod(filepath.Join(data, "blobs"), 0o777) }, "chmod o-w"},
		"of another user":     {func(data string) error { return os.Chown(data, 12345, -1) }, `"owner":12345`},
		"segments, another's": {func(data string) error { return os.Chown(filepath.Join(data, "segments"), 12345, -1) }, `"owner":12345`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			if err := openLog(t, config).Close(); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(config.Data); err != nil {
				t.Skip(err)
			}
			log := &events{}
			config.Logger = zerolog.New(log)
			openLog(t, config)
			if log.have(`"event":"insecure"`) != (tt.says != "") || !log.have(tt.says) {
				t.Errorf("a start logs %s, want %q", &log.all, tt.says)
			}
		})
	}
}
