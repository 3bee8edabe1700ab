package engine

import (
	"bytes"
	"errors"

	"tcp-log-server/segment"
)

// writesBlobs reports whether the next entry gets a blob.
func (s *settler) writesBlobs() bool {
	return s.d.blobs != nil && (s.d.cfg.LooseMax < 0 || s.d.loose < s.d.cfg.LooseMax)
}

// putFile writes the blob of the entry after those in recs as a file, if it gets one.
func (s *settler) putFile(hash segment.Hash, entry []byte) error {
	if s.d.files == nil {
		return nil
	}
	doubt := s.next() <= s.doubt
	if !s.writesBlobs() {
		if !doubt {
			return nil
		}
		// A blob that a crash has damaged is rewritten even if there is no room for more.
		if there, err := s.d.files.Has(s.ctx, hash); !there || err != nil {
			return nil
		}
	}
	s.d.files.Trust(!doubt)
	created, err := s.d.files.Put(s.ctx, hash, entry)
	switch {
	case errors.Is(err, segment.ErrObstructed):
		s.obstructed(s.next(), hash, err)
	case err != nil:
		return err
	default:
		if created {
			s.d.loose++
		}
		s.puts++
		s.size += len(entry)
	}
	return nil
}

// putRemote sends the blob of the entry after those in recs to a remote store, if it gets one.
func (s *settler) putRemote(hash segment.Hash, entry []byte) error {
	if s.d.cfg.LooseMax >= 0 && s.putter.flying > 0 && s.d.loose+s.putter.flying >= s.d.cfg.LooseMax {
		if err := s.arrive(); err != nil { // whether there is room depends on how many of them are new
			return err
		}
	}
	if !s.writesBlobs() {
		return nil
	}
	index := s.next()
	s.putter.put(s.ctx, hash, bytes.Clone(entry), func(err error) { s.obstructed(index, hash, err) })
	s.puts++
	s.size += len(entry)
	return nil
}

// obstructed notes, once for each shard, that the entry at index gets no blob because of err. It
// is settled without one: it stays packed, and its segment with it, see remove.
func (s *settler) obstructed(index uint64, hash segment.Hash, err error) {
	s.notedMu.Lock()
	defer s.notedMu.Unlock()
	if s.noted[hash[0]] {
		return
	}
	s.noted[hash[0]] = true
	s.d.log.Error().Err(err).Str("event", "obstructed").Uint64("index", index).
		Msg("the entry gets no blob and stays packed in its segment, as do others like it: move it away")
}

// syncBlobs makes durable what has been put.
func (s *settler) syncBlobs() error {
	if s.d.files != nil {
		return s.d.files.Sync(s.ctx)
	}
	if s.puts == 0 {
		return nil
	}
	if err := s.arrive(); err != nil {
		return err
	}
	return s.putter.sync(s.ctx)
}

// arrive waits for the blobs that are on their way to a remote store.
func (s *settler) arrive() error {
	created, err := s.putter.wait()
	s.d.loose += created
	return err
}
