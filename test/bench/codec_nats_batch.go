package main

import (
	"bytes"
	"fmt"
)

// batchAppender publishes atomic batches to a stream: all messages of one call of requests are a
// batch, and count as acknowledged once the commit is.
type batchAppender struct {
	*natsAppender
	batches int
	open    []int // the sizes of the batches in flight
}

func newBatchAppender(entries *entrySource, lane int) *batchAppender {
	return &batchAppender{natsAppender: newNATSAppender(entries, lane)}
}

func (a *batchAppender) requests(dst []byte, n int, now int64) []byte {
	if a.pong {
		dst, a.pong = append(dst, "PONG\r\n"...), false
	}
	a.batches++
	a.open = append(a.open, n)
	for i := range n {
		head, reply := fmt.Sprintf("NATS/1.0\r\nNats-Batch-Id: %d.%d\r\nNats-Batch-Sequence: %d\r\n", a.lane, a.batches, i+1), ""
		if i+1 == n {
			head += "Nats-Batch-Commit: 1\r\n"
			reply = fmt.Sprintf(" _B.%d", a.lane)
		}
		head += "\r\n"
		dst = fmt.Appendf(dst, "HPUB s%s %d %d\r\n%s", reply, len(head), len(head)+a.entries.size, head)
		dst = a.entries.put(dst, now)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func (a *batchAppender) replies(b []byte) (used, n int, err error) {
	return a.acks(b, func(ack []byte) (count int) {
		if !bytes.Contains(ack, fmt.Appendf(nil, `"count":%d`, a.open[0])) {
			return 0
		}
		count, a.open = a.open[0], a.open[1:]
		return count
	})
}
