//go:build !nocluster

package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestEachMessage: a reader of a replica gets its messages without NATS's additions, and its error is
// damage at the place of the message.
func TestEachMessage(t *testing.T) {
	r := newReplica(t, count{})
	s := r.scanner()
	var got []string
	s.each = func(seq uint64, message []byte) error {
		got = append(got, string(message))
		if want := fmt.Sprint("message ", seq); string(message) != want {
			t.Errorf("message %d is %q, want %q", seq, message, want)
		}
		return nil
	}
	if _, err := s.advance(t.Context()); err != nil || len(got) != 30 {
		t.Fatalf("%d messages, %v, want 30", len(got), err)
	}
	s = r.scanner()
	s.each = func(seq uint64, _ []byte) error {
		if seq == 17 {
			return errors.New("its BLAKE3 is wrong")
		}
		return nil
	}
	_, err := s.advance(t.Context())
	damage := (*Damage)(nil)
	if !errors.As(err, &damage) || damage.After != 16 || damage.What != "its BLAKE3 is wrong" {
		t.Errorf("the scan ends with %v, want damage after message 16", err)
	}
}

// TestCompareSums: whole replicas that differ are reported; others are left alone.
func TestCompareSums(t *testing.T) {
	list := []Verification{{Node: "a", Problem: "it does not answer"}, {Node: "b", Sum: "1"}, {Node: "c", Sum: "2"}, {Node: "d", Sum: "1"}}
	compareSums(list)
	for i, want := range []string{"it does not answer", "", "its messages are whole, and not those of node b", ""} {
		if list[i].Problem != want {
			t.Errorf("of node %s is said %q, want %q", list[i].Node, list[i].Problem, want)
		}
	}
}

// TestFetchAgainRefused: only a node's directory can be told to fetch its replica again.
func TestFetchAgainRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := FetchAgain(dir); err == nil || !strings.Contains(err.Error(), "is not a node's directory") {
		t.Errorf("an empty directory: %v", err)
	}
	if err := writeJSON(dir+"/"+identityFile, identity{Node: "a", Members: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if node, err := FetchAgain(dir); node != "a" || err == nil || !strings.Contains(err.Error(), "there is no other to fetch the log from") {
		t.Errorf("the only node of a cluster: %s, %v", node, err)
	}
	if _, err := os.Stat(dir + "/" + againFile); err == nil {
		t.Error("it is told to fetch its replica again all the same")
	}
}
