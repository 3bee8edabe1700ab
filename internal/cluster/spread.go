//go:build !nocluster

package cluster

import (
	"os"
	"time"

	"tcp-log-server/segment"
)

// NATS syncs each message in its Raft log, but writes the stream without syncing it. When it cuts the
// Raft log, after about 8 MiB, it syncs all those writes at once, on all nodes at about the same moment;
// the keeper does the same. Appends wait while the disk writes. So a node makes the kernel write the
// stream while it grows.

const (
	// spreadFrom is the least number of bytes that the kernel is asked to write at a time.
	spreadFrom = 256 << 10
	// spreadEvery is how often the node checks whether the stream has grown, and spreadIdle how often
	// while it does not grow.
	spreadEvery = 10 * time.Millisecond
	spreadIdle  = 200 * time.Millisecond
)

// A spreader makes the kernel write what is appended to a store of NATS. One goroutine uses it.
type spreader struct {
	scan  *scanner                            // finds the blocks
	write func(f *os.File, off, length int64) // segment.BeginWriting
	block int                                 // the newest, 0 for none
	size  int64                               // its size at the last look
	asked int64                               // how much of that the kernel has been asked to write
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

// tick asks the kernel to write what was appended since the last call, if that is enough. It reports
// whether anything was appended.
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

// begin continues with another block.
func (s *spreader) begin(block int) { s.block, s.size, s.asked = block, 0, 0 }

// ask asks the kernel to write the end of the block, if that is least bytes or more.
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
