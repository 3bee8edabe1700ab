package engine

import (
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/segment"
)

// warnOfBackup logs that the directory is a backup.
func (d *disk) warnOfBackup() {
	mark := filepath.Join(d.cfg.Data, segment.BackupMark)
	if _, err := os.Lstat(mark); err == nil {
		d.log.Warn().Str("event", "backup").Str("data", d.cfg.Data).
			Msg("this directory is a backup, or a copy of one: once entries are appended here, backup refuses it; to make it an independent log, remove " + mark)
	}
}

// warnOfAccess logs that users other than the process's own may change the files of the
// log: one of its directories belongs to another user, or is writable by all.
func (d *disk) warnOfAccess() {
	var seen []string
	for _, dir := range []string{d.cfg.Data, d.dir, d.cfg.WAL, d.cfg.Blobs} {
		if dir == Memory || slices.Contains(seen, dir) {
			continue
		}
		seen = append(seen, dir)
		fi, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if uid, ok := owner(fi); ok && uid != os.Geteuid() {
			d.log.Warn().Str("event", "insecure").Str("directory", dir).Int("owner", uid).Int("user", os.Geteuid()).
				Msg("the directory belongs to another user than the server's, who can change the log: run the server as that user, or chown it")
		}
		if ownerKnown && fi.Mode()&0o002 != 0 {
			d.log.Warn().Str("event", "insecure").Str("directory", dir).Stringer("mode", fi.Mode()).
				Msg("every user of this machine can change the log: chmod o-w " + dir)
		}
	}
}
