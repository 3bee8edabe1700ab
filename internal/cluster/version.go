//go:build !nocluster

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"tcp-log-server/segment"
)

// versionFile names the version of nats-server that last wrote the directory.
const versionFile = "NATS"

// ErrDowngrade says that a later version of NATS has written to the node's directory.
var ErrDowngrade = errors.New("the node's directory was written by a later version of NATS")

// claimVersion refuses a directory that a later version of NATS has written: an older one may mistake
// what it does not know for damage, and cut it off. Otherwise it notes this version.
func claimVersion(dir, version string) error {
	path := filepath.Join(dir, versionFile)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	was := strings.TrimSpace(string(text))
	if was == version {
		return nil
	}
	if err == nil {
		later, err := laterVersion(was, version)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if later {
			return fmt.Errorf("%s: %w, nats-server %s, and this program has %s: install a tcp-log-server with %[3]s or later; "+
				"or, while all other nodes run, move the directory away, and the node fetches its replica again", dir, ErrDowngrade, was, version)
		}
	}
	return segment.ReplaceFile(path, []byte(version+"\n"))
}

// laterVersion reports whether the version a is later than b. A prerelease such as 2.15.3-beta is earlier
// than 2.15.3.
func laterVersion(a, b string) (bool, error) {
	an, err := parseVersion(a)
	if err != nil {
		return false, err
	}
	bn, err := parseVersion(b)
	if err != nil {
		return false, err
	}
	for i := range an {
		if an[i] != bn[i] {
			return an[i] > bn[i], nil
		}
	}
	return false, nil
}

// parseVersion returns the numbers of a version, followed by 1, or 0 for a prerelease.
func parseVersion(s string) (n [4]int, err error) {
	number, rest, beta := strings.Cut(s, "-")
	if _, err := fmt.Sscanf(number+"\n", "%d.%d.%d\n", &n[0], &n[1], &n[2]); err != nil || beta && rest == "" {
		return n, fmt.Errorf("found the version %.40q, want one like %s", s, natsserver.VERSION)
	}
	if !beta {
		n[3] = 1
	}
	return n, nil
}
