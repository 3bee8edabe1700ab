//go:build !nocluster

package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/segment"
)

// appendRecord appends a record as NATS writes it.
func appendRecord(b []byte, name string, block int, seq uint64, headers, body string) []byte {
	const subject = "log.a"
	message := body
	length := uint32(recordHeader + len(subject) + len(body) + recordSum)
	if headers != "" {
		message = string(binary.LittleEndian.AppendUint32(nil, uint32(len(headers)))) + headers + body
		length = (length + 4 + uint32(len(headers))) | headersBit
	}
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, 1700000000000000000+seq)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(subject)))
	b = append(b, subject...)
	b = append(b, message...)
	sum := blockSum(name, block)
	_, _ = sum.Write(b[at+4 : at+20])
	_, _ = sum.Write([]byte(subject + headers + body))
	return sum.Sum(b)
}

// newReplica makes a replica with blocks of ten messages each, and the log of a Raft group.
func newReplica(t *testing.T, had count) *replica {
	t.Helper()
	r := &replica{dir: t.TempDir(), stream: "log"}
	raft := filepath.Join(r.groups(), "S-R3F-x", "msgs")
	for _, dir := range []string{r.messages(), raft} {
		if err := segment.MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	var entries []byte
	for block := range 3 {
		var b []byte
		for i := range 10 {
			seq := uint64(10*block + i + 1)
			headers := strings.Repeat("NATS/1.0\r\n\r\n", i%2)
			b = appendRecord(b, r.stream, block+1, seq, headers, fmt.Sprint("message ", seq))
			entries = appendRecord(entries, "S-R3F-x", 1, seq+5, "", "an entry of the Raft log")
		}
		write(t, r.scanner().path(block+1), b)
	}
	write(t, filepath.Join(raft, "1.blk"), entries)
	if err := writeJSON(r.countPath(), had); err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// change changes a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, f(b))
}

// TestCheckReplica damages a replica in many ways.
func TestCheckReplica(t *testing.T) {
	block := func(n int, f func([]byte) []byte) func(*testing.T, *replica) {
		return func(t *testing.T, r *replica) { change(t, r.scanner().path(n), f) }
	}
	raft := func(f func([]byte) []byte) func(*testing.T, *replica) {
		return func(t *testing.T, r *replica) { change(t, filepath.Join(r.groups(), "S-R3F-x", "msgs", "1.blk"), f) }
	}
	flip := func(at float64) func([]byte) []byte {
		return func(b []byte) []byte { b[int(at*float64(len(b)))] ^= 1; return b }
	}
	tear := func(b []byte) []byte { return b[:len(b)-3] }
	another := func(n int, seq uint64) func([]byte) []byte {
		return func(b []byte) []byte { return appendRecord(b, "log", n, seq, "", "another") }
	}
	remove := func(n int) func(*testing.T, *replica) {
		return func(t *testing.T, r *replica) {
			if err := os.Remove(r.scanner().path(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	clean := count{Messages: 30, Clean: true}
	for _, c := range []struct {
		name   string
		had    count
		damage func(*testing.T, *replica)
		alone  bool
		want   verdict
		error  string
		left   uint64 // messages left, if it is whole
	}{
		{"nothing", clean, nil, false, whole, "", 30},
		{"nothing, after a crash", count{Messages: 12}, nil, false, whole, "", 30},
		{"more messages than noted", count{Messages: 12, Clean: true}, nil, false, whole, "", 30},
		{"fewer messages than noted", count{Messages: 31}, nil, false, damaged, "has 30 messages, and had 31", 0},
		{"fewer messages than noted, while fetching", count{Messages: 31, State: fetching}, nil, false, whole, "", 30},
		{"a replica that was being put aside", count{Messages: 30, State: moving}, nil, false, damaged, "being put aside", 0},

		{"damage that the last run found", count{Messages: 30, Problem: "a problem"}, nil, false, damaged, "a problem", 0},

		{"a bit in the first block", clean, block(1, flip(.5)), false, damaged, "1.blk, offset", 0},
		{"a bit in the first block, noted before a crash", count{Messages: 10}, block(1, flip(.5)), false, damaged, "checksum is", 0},
		{"a bit in a length", clean, block(1, flip(0)), false, damaged, "1.blk, offset 0, after message 0: ", 0},
		{"a bit in the newest block", clean, block(3, flip(.5)), false, damaged, "3.blk", 0},
		{"a bit in the newest block, noted before a crash", count{Messages: 30}, block(3, flip(.5)), false, damaged, "3.blk", 0},
		{"a bit in what a crash left unsynced", count{Messages: 20}, block(3, flip(.5)), false, whole, "", 25},
		{"the same without a Raft log", count{Messages: 20}, block(3, flip(.5)), true, damaged, "3.blk", 0},
		{"an older block that a crash left unsynced", count{Messages: 10}, block(2, flip(.5)), false, whole, "", 15},
		{"a torn record", count{Messages: 29}, block(3, tear), false, whole, "", 29},
		{"a torn record without a Raft log", count{Messages: 29}, block(3, tear), true, whole, "", 29},
		{"a torn record after a clean stop", clean, block(3, tear), false, damaged, "are left", 0},
		{"a block is gone", clean, remove(2), false, damaged, "the next message is 21", 0},
		{"the first block is gone", clean, remove(1), false, damaged, "the next message is 11", 0},
		{"the newest block is gone", clean, remove(3), false, damaged, "has 20 messages, and had 30", 0},
		{"a message is erased", clean, block(3, another(3, 31|erasedBit)), false, damaged, "message 31 is erased", 0},
		{"a message was deleted", clean, block(3, another(3, 7|tombstoneBit)), false, damaged, "message 7 was deleted", 0},
		{"a message again", clean, block(3, another(3, 30)), false, damaged, "the next message is 30", 0},
		{"a block of another stream", clean, func(t *testing.T, r *replica) { r.stream = "other"; renameStream(t, r, "log") }, false, damaged, "checksum", 0},
		{"a block of another place", clean, func(t *testing.T, r *replica) {
			if err := os.Rename(r.scanner().path(3), r.scanner().path(4)); err != nil {
				t.Fatal(err)
			}
		}, false, damaged, "4.blk", 0},

		{"a bit in a Raft log", clean, raft(flip(.5)), false, damaged, "S-R3F-x", 0},
		{"a bit in a Raft log, after a crash", count{Messages: 30}, raft(flip(.5)), false, damaged, "S-R3F-x", 0},
		{"a torn Raft log, after a crash", count{Messages: 30}, raft(tear), false, whole, "", 30},
		{"a torn Raft log", clean, raft(tear), false, damaged, "S-R3F-x", 0},

		{"everything is gone", clean, func(t *testing.T, r *replica) { removeAll(t, r.root()) }, false, damaged, "had 30 messages, and", 0},
		{"everything is gone, and there was nothing", count{}, func(t *testing.T, r *replica) { removeAll(t, r.root()) }, false, empty, "", 0},
		{"the count is gone", clean, func(t *testing.T, r *replica) { removeAll(t, r.countPath()) }, false, damaged, "no file", 0},
		{"the log is gone", clean, func(t *testing.T, r *replica) { removeAll(t, r.streams()) }, false, damaged, "has 0 messages, and had 30", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t, c.had)
			r.alone = c.alone
			if c.damage != nil {
				c.damage(t, r)
			}
			v, had, err := r.check(t.Context())
			if v != c.want || (err == nil) != (c.error == "") || err != nil && !strings.Contains(err.Error(), c.error) {
				t.Fatalf("got verdict %d, %v, want %d, %q", v, err, c.want, c.error)
			}
			if v != whole {
				return
			}
			s := r.scanner()
			if _, err := s.advance(t.Context()); err != nil || s.last != c.left {
				t.Errorf("%d messages are left, %v, want %d", s.last, err, c.left)
			}
			if had.Messages != max(c.left, c.had.Messages) {
				t.Errorf("it has %d messages for certain, want %d", had.Messages, max(c.left, c.had.Messages))
			}
		})
	}
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func renameStream(t *testing.T, r *replica, from string) {
	t.Helper()
	if err := os.Rename(filepath.Join(r.streams(), from), filepath.Join(r.streams(), r.stream)); err != nil {
		t.Fatal(err)
	}
}

// TestPutAside puts a replica aside, also after a crash interrupted that, and checks that the votes stay.
func TestPutAside(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		r := newReplica(t, count{Messages: 30, Clean: true})
		vote := filepath.Join(r.groups(), "S-R3F-x", "tav.idx")
		write(t, vote, []byte("a vote"))
		had := count{Messages: 30, Clean: true}
		if interrupted { // after the stream was moved, before the Raft log was
			had.State = moving
			aside, err := r.makeAside()
			if err == nil {
				err = os.Mkdir(filepath.Join(aside, "$G"), 0o700)
			}
			if err == nil {
				err = os.Rename(r.streams(), filepath.Join(aside, "$G", "streams"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.putAside(had); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(vote); err != nil {
			t.Error("the node forgets what it voted for:", err)
		}
		for _, path := range []string{r.streams(), filepath.Join(r.groups(), "S-R3F-x", "msgs")} {
			if there, err := exists(path); there || err != nil {
				t.Errorf("%s is still there, %v", path, err)
			}
		}
		for _, dir := range []string{"SYS/_js_/S-R3F-x/msgs", "$G/streams/log/msgs"} {
			if there, err := exists(filepath.Join(r.dir, asideDir, dir, "1.blk")); !there || err != nil {
				t.Errorf("%s was not kept: %v", dir, err)
			}
		}
		v, had, err := r.check(t.Context())
		if want := (count{Messages: 30, State: fetching}); v != whole || had != want || err != nil {
			t.Errorf("then the replica is %d, %+v, %v, want %d, %+v", v, had, err, whole, want)
		}
	}
}

// TestKeeper follows a replica that grows.
func TestKeeper(t *testing.T) {
	r := newReplica(t, count{Messages: 30, Clean: true})
	k, err := newKeeper(r, count{Messages: 30})
	if err != nil {
		t.Fatal(err)
	}
	check := func(want count) {
		t.Helper()
		var had count
		if _, err := readJSON(r.countPath(), &had); err != nil || had != want {
			t.Errorf("the count is %+v, %v, want %+v", had, err, want)
		}
	}
	check(count{Messages: 30})
	tick := func(want string) {
		t.Helper()
		_, err := k.tick(t.Context())
		if damage := (*Damage)(nil); (err == nil) != (want == "") || err != nil && (!errors.As(err, &damage) || !strings.Contains(err.Error(), want)) {
			t.Fatalf("got %v, want %q", err, want)
		}
	}
	tick("")
	check(count{Messages: 30})
	change(t, r.scanner().path(3), func(b []byte) []byte { return appendRecord(b, "log", 3, 31, "", "more") })
	write(t, r.scanner().path(4), appendRecord(nil, "log", 4, 32, "", "a new block"))
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.end(late); !errors.Is(err, context.Canceled) {
		t.Errorf("a node that has no time left ends its replica with %v", err)
	}
	check(count{Messages: 30}) // the next start reads the rest
	tick("")
	check(count{Messages: 32})
	if err := k.end(t.Context()); err != nil {
		t.Fatal(err)
	}
	var size int64
	for n := range 4 {
		info, err := os.Stat(r.scanner().path(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	check(count{Messages: 32, Clean: true, Blocks: 4, Bytes: size})
	change(t, r.scanner().path(4), func(b []byte) []byte { return appendRecord(b, "log", 4, 34, "", "after a gap") })
	tick("4.blk, offset")
	check(count{Messages: 32, Clean: true, Blocks: 4, Bytes: size}) // no more is certain
	if err := k.condemn("a problem"); err != nil {
		t.Fatal(err)
	}
	if err := k.note(count{Messages: 33}); err != nil {
		t.Fatal(err)
	}
	check(count{Messages: 33, Problem: "a problem"})
}
