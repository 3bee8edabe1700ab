package archive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// packSize is the size in bytes at which a new segment is full.
const packSize = 64 << 20

// packBatch is about the maximum size in bytes of a batch; its entries all have the same time.
const packBatch = 1 << 20

// pack builds and uploads segments of the entries before index first that the bucket lacks. Their
// own segments have been removed, but records and blobs have them. The last new segment says in its
// footer that the next one follows the checksum next. The result depends only on the records, the
// blobs and the first entry.
func (k *Keeper) pack(ctx context.Context, first uint64, next uint32) error {
	if k.Dirs.WAL == segment.Memory || k.Dirs.Store() == nil {
		return fmt.Errorf("the entries %d to %d have no segment, so they need the index and the blobs on disk", k.sealedEnd+1, first-1)
	}
	path := filepath.Join(k.Dirs.Data, TempName)
	defer os.Remove(path)
	records := segment.NewRecords(k.Dirs.WAL, first-1)
	defer records.Close()
	for k.sealedEnd+1 < first {
		p := &packer{k: k, ctx: ctx, records: records, through: first - 1}
		if err := p.write(path, next); err != nil {
			return fmt.Errorf("pack the entries from %d on for the archive: %w", k.sealedEnd+1, err)
		}
		f, err := segment.OpenRegular(path)
		if err != nil {
			return err
		}
		footer, at, err := checkSealed(f, path, k.sealedEnd+1)
		if err == nil {
			err = k.putSegment(ctx, f, footer, at)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// packer writes one segment.
type packer struct {
	k       *Keeper
	ctx     context.Context
	records *segment.Records
	through uint64

	w     *segment.Rewriter
	size  int
	body  []byte
	count uint32
	time  int64
}

// write writes the next segment to path.
func (p *packer) write(path string, next uint32) (err error) {
	begin, err := p.records.At(p.k.sealedEnd + 1)
	if err != nil {
		return err
	}
	id, err := parseStore(p.k.log.Store())
	if err != nil {
		return err
	}
	p.w, err = segment.NewRewriter(path, segment.Header{Store: id, First: p.k.sealedEnd + 1, Created: begin.Time, Prev: p.k.sealedSum})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := p.w.Close(); err == nil {
			err = cerr
		}
	}()
	for index := p.k.sealedEnd + 1; index <= p.through && p.size < packSize; index++ {
		if p.k.isStopping() {
			return errStopping
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.entry(index); err != nil {
			return fmt.Errorf("index %d: %w; run `tcp-log-server fsck %s`", index, err, p.k.Dirs.Data)
		}
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.w.Seal(next, p.w.Last() == p.through)
}

func (p *packer) entry(index uint64) error {
	rec, err := p.records.At(index)
	if err != nil {
		return err
	}
	if rec.Lost() || rec.Time != p.time || len(p.body) >= packBatch {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if rec.Lost() {
		p.size += segment.BatchHeaderSize
		return p.w.Lose(index, rec.Time)
	}
	entry, err := segment.ReadBlob(p.ctx, p.k.Dirs.Store(), rec)
	if err != nil {
		return err
	}
	p.body, p.count, p.time = append(append(p.body, entry...), '\n'), p.count+1, rec.Time
	p.size += len(entry) + 1
	return nil
}

// flush writes the current batch.
func (p *packer) flush() error {
	if p.count == 0 {
		return nil
	}
	err := p.w.Add(p.count, p.time, p.body)
	p.size += segment.BatchHeaderSize
	p.body, p.count = p.body[:0], 0
	return err
}
