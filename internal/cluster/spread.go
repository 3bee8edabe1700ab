//go:build !nocluster

package cluster

import (
	"os"
	"time"

	"tcp-log-server/segment"
)

// NATS syncs each message in its Raft log, but writes the stream without syncing it. When it cuts the
// Raft log, after about 8 MiB, it syncs all of that at once, on all nodes at about the same moment; the
// keeper does the same. Appends have to wait while the disk writes it. So a node has the kernel write
// the stream while it grows.

const (
	// spreadFrom is how many bytes the kernel is asked to write at a time, or more.
	spreadFrom = 256 << 10
	// spreadEvery is how often the node looks whether the stream has grown, and spreadIdle how often
	// while it does not grow.
	spreadEvery = 10 * time.Millisecond
	spreadIdle  = 200 * time.Millisecond
)

// A spreader has the kernel write what is appended to a store of NATS. One goroutine uses it.
type spreader struct {
	scan  *scanner                            // finds the blocks
	write func(f *os.File, off, length int64) // segment.BeginWriting
	block int                                 // the newest, 0 for none
	size  int64                               // how many bytes it had when it was last looked at
	asked int64                               // how many of them the kernel has been asked to write
}

// spread runs a spreader on the node's own replica until the node is closed.
func (n *Node) spread() {
	s := &spreader{scan: n.replica.scanner(), write: segment.BeginWriting}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		if s.tick() {
			timer.Reset(spreadEvery)
		} else {
			timer.Reset(spreadIdle)
		}
	}
}

// tick asks for what has been appended since the last call, if that is enough. It returns whether
// anything has been.
func (s *spreader) tick() (grown bool) {
	if s.block == 0 {
		list, err := s.scan.blocks()
		if err != nil || len(list) == 0 {
			return false
		}
		s.begin(list[len(list)-1])
	}
	if _, err := os.Stat(s.scan.path(s.block + 1)); err == nil {
		s.ask(1)
		s.begin(s.block + 1)
		return true
	}
	return s.ask(spreadFrom)
}

// begin goes on with another block.
func (s *spreader) begin(block int) { s.block, s.size, s.asked = block, 0, 0 }

// ask asks for the end of the block, if it has least bytes or more.
func (s *spreader) ask(least int64) (grown bool) {
	path := s.scan.path(s.block)
	info, err := os.Stat(path)
	if err != nil {
		s.block = 0 // NATS has discarded its replica
		return false
	}
	grown = info.Size() > s.size
	s.size = info.Size()
	s.asked = min(s.asked, s.size)
	if length := s.size - s.asked; length >= least {
		if f, err := os.Open(path); err == nil {
			s.write(f, s.asked, length)
			f.Close()
		}
		s.asked = s.size
	}
	return grown
}
