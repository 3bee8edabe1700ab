package backup

import (
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// putIndex extends the index of the backup to that of the source, one file at a time in ascending
// order, each by one rename. So at every moment it is the index of a log whose segments may reach
// further.
func (b *backup) putIndex() error {
	d, src := b.dest, b.src
	if src.wal == "" || src.records <= d.records {
		return nil
	}
	files, _, err := segment.ListRecordFiles(src.wal)
	if err != nil {
		return err
	}
	incoming := d.in("wal")
	if err := segment.MakeDir(incoming); err != nil {
		return err
	}
	return segment.ChangeNames(func() error { return b.putFiles(files, incoming) }, d.wal())
}

// putFiles writes the files of the index in incoming, and renames each into place.
func (b *backup) putFiles(files []segment.RecordFile, incoming string) error {
	d, src := b.dest, b.src
	for _, file := range files {
		if file.First > src.records {
			break
		}
		last := min(file.First+segment.RecordsPerFile-1, src.records)
		if last <= d.records {
			b.kept.Add(file.Size)
			continue
		}
		recs, err := segment.ReadRecords(src.wal, file.First, last)
		if err != nil {
			return err
		}
		name := filepath.Base(file.Path)
		// Written from the verified records, and synced.
		if err := segment.WriteRecords(filepath.Join(incoming, name), file.First, recs); err != nil {
			return err
		}
		if err := b.step("index"); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(incoming, name), filepath.Join(d.wal(), name)); err != nil {
			return err
		}
		b.copied.Add(int64(len(recs)) * (segment.RecordSize + 1))
		d.records = last
	}
	return nil
}
