//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/highwayhash"
)

// A store of NATS is a directory of blocks, 1.blk, 2.blk and so on, each a sequence of records. All
// numbers are little-endian.
//
//	 0  4  length of the record; the top bit says that the message has headers
//	 4  8  sequence; the top bit marks an erased message, the next one a tombstone
//	12  8  time
//	20  2  length of the subject
//	22     subject, 4 bytes for the length of the headers if there are any, headers, message
//	-8  8  HighwayHash of bytes 4 to 20, the subject, the headers and the message,
//	       with the SHA-256 of "NAME-BLOCK" as its key
const (
	recordHeader = 22
	recordSum    = 8
	maxRecord    = 32 << 20 // NATS's own bound

	headersBit   = 1 << 31
	erasedBit    = 1 << 63
	tombstoneBit = 1 << 62
)

// A scanner reads the blocks of a store in order and verifies every record. It changes nothing, and may
// follow a store that is being written.
type scanner struct {
	dir  string // of the blocks
	name string // of the stream or the Raft group
	log  bool   // it holds the log: messages 1, 2, 3 and so on, none erased

	block int    // the current block, 0 before the first
	off   int64  // in it, after the last record read
	last  uint64 // the sequence of that record
	read  int64  // total bytes
	buf   []byte

	midway bool // the next record is the first to be read, and may have any sequence

	// each, if not nil, is called with the message of each record. Its error is damage.
	each func(seq uint64, message []byte) error
}

// atEnd places s before the newest block, to read what is written from then on.
func (s *scanner) atEnd() error {
	list, err := s.blocks()
	if len(list) > 0 {
		s.block, s.off, s.midway = list[len(list)-1], 0, true
	}
	return err
}

// blocks lists the blocks of the store, oldest first.
func (s *scanner) blocks() ([]int, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".blk")
		if n, err := strconv.Atoi(name); ok && err == nil {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (s *scanner) path(block int) string { return filepath.Join(s.dir, strconv.Itoa(block)+".blk") }

// advance reads all records after those that the last call read. It returns a *Damage for the first
// record that is not whole, and stays before it. torn says that the damage is in the newest block.
func (s *scanner) advance(ctx context.Context) (torn bool, err error) {
	for {
		list, err := s.blocks()
		if err != nil {
			return false, err
		}
		i, found := slices.BinarySearch(list, s.block)
		if !found && s.block != 0 {
			return false, &Damage{s.path(s.block), s.off, s.last, "the block is gone", true}
		}
		if s.block == 0 && len(list) == 0 {
			return false, nil
		}
		newest := i >= len(list)-1
		if found {
			if err := s.readBlock(); err != nil {
				return newest, err
			}
			if newest {
				return false, nil
			}
			i++
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		s.block, s.off = list[i], 0
	}
}

// follow is advance for a store that is being written: it waits for an incomplete record at the end.
func (s *scanner) follow(ctx context.Context) error {
	for tries := 0; ; tries++ {
		off := s.off
		torn, err := s.advance(ctx)
		if damage := (*Damage)(nil); !torn || !errors.As(err, &damage) || tries >= 20 && s.off == off {
			return err
		}
		if s.off != off {
			tries = 0
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readBlock reads the rest of the current block.
func (s *scanner) readBlock() error {
	f, err := os.Open(s.path(s.block))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - s.off
	if size < 0 {
		return &Damage{s.path(s.block), s.off, s.last, "the block is shorter than it was", true}
	}
	if size == 0 {
		return nil
	}
	if int64(cap(s.buf)) < size {
		s.buf = make([]byte, size)
	}
	buf := s.buf[:size]
	if _, err := f.ReadAt(buf, s.off); err != nil {
		if errors.Is(err, io.EOF) {
			return &Damage{s.path(s.block), s.off, s.last, "the block is shorter than it was", true}
		}
		return err
	}
	sum := blockSum(s.name, s.block)
	for len(buf) > 0 {
		seq, n, what := record(buf, sum)
		switch {
		case what != "":
		case seq&erasedBit != 0 && s.log:
			what = fmt.Sprintf("message %d is erased", seq&^erasedBit)
		case seq&tombstoneBit != 0 && s.log:
			what = fmt.Sprintf("message %d was deleted", seq&^tombstoneBit)
		case seq&(erasedBit|tombstoneBit) != 0: // a Raft log erases what it no longer needs
		case seq != s.last+1 && !s.midway && s.log:
			what = fmt.Sprintf("the next message is %d", seq)
		case s.each != nil:
			if err := s.each(seq, content(buf[:n])); err != nil {
				what = err.Error()
			}
		}
		if what != "" {
			return s.damage(what)
		}
		s.last, s.midway = seq&^(erasedBit|tombstoneBit), false
		s.off += int64(n)
		s.read += int64(n)
		buf = buf[n:]
	}
	return nil
}

func (s *scanner) damage(what string) error {
	return &Damage{s.path(s.block), s.off, s.last, what, false}
}

// blockSum returns the hash for records in a block.
func blockSum(name string, block int) *highwayhash.Digest64 {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", name, block))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		panic(err) // the key's length is right
	}
	return sum
}

// record reads the record at the beginning of buf: its sequence, with its marks, and its length. what
// says why it is not a whole record, if it is not.
func record(buf []byte, sum *highwayhash.Digest64) (seq uint64, n int, what string) {
	if len(buf) < recordHeader {
		return 0, 0, "the record ends within its header"
	}
	length := binary.LittleEndian.Uint32(buf)
	before := int(binary.LittleEndian.Uint16(buf[20:]))
	subject := before
	if length&headersBit != 0 {
		length &^= headersBit
		before += 4
	}
	switch {
	case length > maxRecord || int(length) < recordHeader+before+recordSum:
		return 0, 0, fmt.Sprintf("the record has the impossible length %d", length)
	case int(length) > len(buf):
		return 0, 0, fmt.Sprintf("the record has %d bytes, and %d are left", length, len(buf))
	}
	body, want := buf[recordHeader:length-recordSum], buf[length-recordSum:length]
	sum.Reset()
	_, _ = sum.Write(buf[4:20])
	_, _ = sum.Write(body[:subject])
	_, _ = sum.Write(body[before:])
	if got := sum.Sum(nil); !bytes.Equal(got, want) {
		return 0, 0, fmt.Sprintf("the record's checksum is %x, want %x", got, want)
	}
	return binary.LittleEndian.Uint64(buf[4:]), int(length), ""
}

// content returns the message of a whole record.
func content(record []byte) []byte {
	at := recordHeader + int(binary.LittleEndian.Uint16(record[20:]))
	if binary.LittleEndian.Uint32(record)&headersBit != 0 {
		at += 4 + int(binary.LittleEndian.Uint32(record[at:]))
	}
	end := len(record) - recordSum
	return record[min(at, end):end]
}

// A summary is what NATS writes about a store in index.db when it stops.
type summary struct{ messages, first, last uint64 }

// readSummary reads the summary of the store in dir. ok is false if NATS would not trust it either.
func readSummary(dir, name string) (s summary, ok bool) {
	buf, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil || len(buf) < 32 {
		return s, false
	}
	key := sha256.Sum256([]byte(name))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return s, false
	}
	end := len(buf) - recordSum
	if _, _ = sum.Write(buf[:end]); !bytes.Equal(sum.Sum(nil), buf[end:]) {
		return s, false
	}
	r := bytes.NewReader(buf[2:end]) // after its magic and version
	number := func() (n uint64) {
		if err == nil {
			n, err = binary.ReadUvarint(r)
		}
		return n
	}
	s.messages = number()
	number() // bytes
	s.first = number()
	number() // the time of the first
	s.last = number()
	return s, err == nil
}
