package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// nullServer acknowledges appends without parsing or storing their entries, as
// cheaply as a server of this protocol can. It shows the generator's own ceiling on
// the machine. So that readers have a ceiling too, it serves made-up entries for the
// indices that it assigned.
//
// It is one thread around epoll, like the generator.
type nullServer struct {
	poll  *poller
	conns map[int]*nullConn
	head  uint64
	entry []byte // the entry that readers get
	in    []byte
}

type nullConn struct {
	rest    []byte
	out     []byte
	polling bool   // watched for room to write
	next    uint64 // the reader's next index; 0: no reader
	left    uint64 // entries that its read may still send
	endless bool   // no bound
	current bool   // the reader was told that it is at the head
}

// nullBatch bounds how many bytes are buffered for a reader at a time.
const nullBatch = 256 << 10

// runNullServer serves until the process is ended.
func runNullServer(entrySize int) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer file.Close()
	s := &nullServer{
		conns: make(map[int]*nullConn),
		entry: newEntrySource(entrySize, 0).put(nil, 0),
		in:    make([]byte, 1<<20),
	}
	if s.poll, err = newPoller(); err != nil {
		return err
	}
	listener := int(file.Fd())
	if err := s.poll.add(listener, listener); err != nil {
		return err
	}
	fmt.Printf("{\"event\":\"listening\",\"port\":%d}\n", l.Addr().(*net.TCPAddr).Port)
	for {
		events, err := s.poll.wait(1000)
		if err != nil {
			return err
		}
		head := s.head
		for _, ev := range events {
			fd := int(ev.Fd)
			if fd == listener {
				s.accept(listener)
			} else if c := s.conns[fd]; c != nil && !s.serve(fd, c, ev.Events) {
				syscall.Close(fd)
				delete(s.conns, fd)
			}
		}
		if s.head > head {
			s.follow()
		}
	}
}

func (s *nullServer) accept(listener int) {
	fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if s.poll.add(fd, fd) == nil {
		s.conns[fd] = new(nullConn)
	}
}

// serve handles the events of a connection. It returns false to end it.
func (s *nullServer) serve(fd int, c *nullConn, events uint32) bool {
	if events&^syscall.EPOLLOUT != 0 {
		held := copy(s.in, c.rest)
		n, errno := rawRead(fd, s.in[held:])
		if errno != 0 {
			return errno == syscall.EAGAIN || errno == syscall.EINTR
		}
		if n == 0 {
			return false
		}
		b := s.in[:held+n]
		for {
			end := bytes.IndexByte(b, '\n')
			if end < 0 {
				break
			}
			if !s.message(c, b[:end]) {
				return false
			}
			b = b[end+1:]
		}
		c.rest = append(c.rest[:0], b...)
	}
	return s.flush(fd, c)
}

// message answers one line. It looks only at the first bytes.
func (s *nullServer) message(c *nullConn, line []byte) bool {
	const from, read = `{"from":`, `,"read":`
	if bytes.HasPrefix(line, []byte(writeHead)) {
		end := bytes.IndexByte(line[len(writeHead):], '"')
		if end < 0 {
			return false
		}
		s.head++
		c.out = append(c.out, line[:len(writeHead)+end]...)
		c.out = append(c.out, ackMid...)
		c.out = strconv.AppendUint(c.out, s.head, 10)
		c.out = append(c.out, '}', '\n')
		return true
	}
	if !bytes.HasPrefix(line, []byte(from)) {
		return false
	}
	line = line[len(from):]
	index, n := parseUint(line)
	c.next, c.current, c.endless = index, false, true
	if line = line[n:]; bytes.HasPrefix(line, []byte(read)) {
		c.left, _ = parseUint(line[len(read):])
		c.endless = false
	}
	return true
}

// fill buffers a reader's next entries.
func (s *nullServer) fill(c *nullConn) {
	for s.due(c) && len(c.out) < nullBatch {
		c.out = append(c.out, indexHead...)
		c.out = strconv.AppendUint(c.out, c.next, 10)
		c.out = append(c.out, indexMid...)
		c.out = append(c.out, s.entry...)
		c.out = append(c.out, '}', '\n')
		c.next++
		c.left--
	}
	switch {
	case c.next == 0:
	case !c.endless && c.left == 0:
		c.out = fmt.Appendf(c.out, "{\"head\":%d}\n", s.head)
		c.next = 0
	case c.next > s.head && !c.current:
		c.out = append(c.out, "{\"current\":true}\n"...)
		c.current = true
	}
}

// flush writes until the socket has no room, nothing is left, or the connection
// has used its share of this turn.
func (s *nullServer) flush(fd int, c *nullConn) bool {
	for range 8 {
		if len(c.out) < nullBatch/2 {
			s.fill(c)
		}
		if len(c.out) == 0 {
			break
		}
		n, errno := rawWrite(fd, c.out)
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 && errno != syscall.EINTR {
			return false
		}
		if errno == 0 {
			c.out = c.out[:copy(c.out, c.out[n:])]
		}
	}
	if more := len(c.out) > 0 || s.due(c); more != c.polling {
		c.polling = more
		return s.poll.output(fd, fd, more) == nil
	}
	return true
}

// due reports whether there are entries to send to a reader.
func (s *nullServer) due(c *nullConn) bool {
	return c.next != 0 && c.next <= s.head && (c.endless || c.left > 0)
}

// follow sends new entries to the readers that had reached the head. These entries
// are made up too, including their times: a follower's latency with this server
// means nothing.
func (s *nullServer) follow() {
	for fd, c := range s.conns {
		if c.next != 0 && c.current && !c.polling {
			if !s.flush(fd, c) {
				syscall.Close(fd)
				delete(s.conns, fd)
			}
		}
	}
}
