//go:build !nocluster

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/klauspost/compress/s2"
)

// A record of a Raft log is what its leader sent to all members. All numbers are little-endian.
//
//	 0  8  the leader's ID
//	 8  8  term; then the commit, the previous term and the previous index, 8 bytes each
//	40  2  number of entries that follow, each with 4 bytes for its length, 1 for its kind, and its data
//
// The data of a normal entry of a stream begins with the operation. For a message to be stored it
// continues with
//
//	 0  8  how many messages precede it in the stream, including those refused when they were applied
//	 8  8  time
//	16     subject, reply and headers, each after 2 bytes for its length
//	       the message, after 4 bytes
//
// or with the same compressed by S2.
const (
	raftHeader   = 42
	normalEntry  = 0
	storeMessage = 4
	storePacked  = 14
)

var errRaftRecord = errors.New("the record of the Raft log cannot be read")

// raftMessages passes the messages of a stream in a record of its Raft log to fn.
func raftMessages(record []byte, fn func(subject string, headers, message []byte) error) error {
	if len(record) < raftHeader {
		return errRaftRecord
	}
	entries, rest := int(binary.LittleEndian.Uint16(record[40:])), record[raftHeader:]
	for range entries {
		entry, after, ok := cutLength32(rest)
		if !ok || len(entry) == 0 {
			return errRaftRecord
		}
		rest = after
		if entry[0] != normalEntry || len(entry) < 2 {
			continue
		}
		data := entry[2:]
		switch entry[1] {
		case storeMessage:
		case storePacked:
			var err error
			if data, err = s2.Decode(nil, data); err != nil {
				return fmt.Errorf("%w: %w", errRaftRecord, err)
			}
		default:
			continue
		}
		if len(data) < 16 {
			return errRaftRecord
		}
		subject, data, ok1 := cutLength16(data[16:])
		_, data, ok2 := cutLength16(data) // the reply
		headers, data, ok3 := cutLength16(data)
		message, _, ok4 := cutLength32(data)
		if !ok1 || !ok2 || !ok3 || !ok4 {
			return errRaftRecord
		}
		if err := fn(string(subject), headers, message); err != nil {
			return err
		}
	}
	return nil
}

// cutLength16 cuts off a part that follows 2 bytes for its length, cutLength32 one that follows 4.
func cutLength16(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	return cutLength(b[2:], uint64(binary.LittleEndian.Uint16(b)))
}

func cutLength32(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	return cutLength(b[4:], uint64(binary.LittleEndian.Uint32(b)))
}

func cutLength(b []byte, n uint64) (part, rest []byte, ok bool) {
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// headerNumber returns the number in a header of a message. ok is false if there is none.
func headerNumber(headers []byte, name string) (n uint64, ok bool) {
	for line := range bytes.SplitSeq(headers, []byte("\r\n")) {
		if key, value, found := bytes.Cut(line, []byte(":")); found && string(key) == name {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
