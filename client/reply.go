package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// reply is an answer to an append, or a fault, which answers none.
type reply struct {
	id    uint64
	index uint64
	err   error
	more  *Result         // anything beyond the index, if present
	stat  json.RawMessage // the answer to the question for features, if it is one
	fault string
	done  func(index uint64, err error) // of its call
	waits bool                          // of its call
}

// parseReply parses one line of a pipeline.
func parseReply(line []byte) (r reply, ok bool) {
	const head, mid = `{"id":"`, `","index":`
	if rest, found := bytes.CutPrefix(line, []byte(head)); found {
		id, n := digits(rest)
		if rest = rest[n:]; n > 0 && bytes.HasPrefix(rest, []byte(mid)) {
			rest = rest[len(mid):]
			index, n := digits(rest)
			if n > 0 && index > 0 {
				switch string(rest[n:]) {
				case "}":
					return reply{id: id, index: index}, true
				case `,"seen":true}`:
					return reply{id: id, index: index, more: &Result{Seen: true}}, true
				}
			}
		}
	}
	// The members may come in any order, and there may be others.
	var m struct {
		ID     *string
		Index  uint64
		Error  *string
		Head   *uint64
		Seen   bool
		Count  uint64
		Hash   string
		Hashes []string
		Time   time.Time
		Stat   json.RawMessage
	}
	if json.Unmarshal(line, &m) != nil {
		return r, false
	}
	if m.ID == nil {
		if m.Stat != nil && m.Error == nil {
			return reply{stat: m.Stat}, true
		}
		if m.Error == nil || *m.Error == "" {
			return r, false
		}
		return reply{fault: *m.Error}, true
	}
	id, err := strconv.ParseUint(*m.ID, 10, 64)
	if err != nil || (m.Error == nil) == (m.Index == 0) {
		return r, false
	}
	if m.Error != nil {
		err := replyError(*m.Error)
		if m.Head != nil && errors.Is(err, ErrRefused) {
			err = &ConditionError{Head: *m.Head}
		}
		return reply{id: id, err: err}, true
	}
	more := &Result{Index: m.Index, Seen: m.Seen, Hashes: m.Hashes, Time: m.Time, count: m.Count}
	if m.Hash != "" {
		more.Hashes = []string{m.Hash}
	}
	return reply{id: id, index: m.Index, more: more}, true
}

// digits parses the number at the beginning of b; n is the number of its digits, at most
// 19.
func digits(b []byte) (value uint64, n int) {
	for n < len(b) && n < 19 && b[n] >= '0' && b[n] <= '9' {
		value = value*10 + uint64(b[n]-'0')
		n++
	}
	return value, n
}
