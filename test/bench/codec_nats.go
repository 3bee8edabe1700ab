package main

import (
	"bytes"
	"fmt"
)

// The bench speaks to NATS JetStream directly too, rather than through its client
// library, so that all servers get the same loop: the library spends a goroutine, a
// future and several allocations on every publish.

// natsMessage is one message from the server: MSG or HMSG.
type natsMessage struct {
	inbox   byte // the subscription's one-digit id
	reply   []byte
	header  []byte
	payload []byte
}

// natsScan parses the protocol message at the start of b. msg is set for a
// delivered message, ping if the server expects a PONG.
func natsScan(b []byte) (msg *natsMessage, ping bool, size int, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 {
		return nil, false, 0, errIncomplete
	}
	line, size := b[:end-1], end+1
	switch {
	case bytes.HasPrefix(line, []byte("MSG ")):
		return natsBody(b, line[len("MSG "):], size, false)
	case bytes.HasPrefix(line, []byte("HMSG ")):
		return natsBody(b, line[len("HMSG "):], size, true)
	case bytes.HasPrefix(line, []byte("PING")):
		return nil, true, size, nil
	case bytes.HasPrefix(line, []byte("PONG")), bytes.HasPrefix(line, []byte("INFO")),
		bytes.HasPrefix(line, []byte("+OK")):
		return nil, false, size, nil
	}
	return nil, false, 0, unexpected("nats", line)
}

// natsBody parses what follows a message's control line, whose fields are
// "subject sid [reply] [header size] size".
func natsBody(b, fields []byte, at int, headed bool) (*natsMessage, bool, int, error) {
	var m natsMessage
	var headerSize int
	fields, size := natsLastNumber(fields)
	if headed {
		fields, headerSize = natsLastNumber(fields)
	}
	_, fields, _ = bytes.Cut(fields, []byte(" "))
	if len(fields) == 0 || headerSize > size {
		return nil, false, 0, unexpected("nats", b[:at])
	}
	m.inbox = fields[0]
	_, m.reply, _ = bytes.Cut(fields, []byte(" "))
	if len(b) < at+size+2 {
		return nil, false, 0, errIncomplete
	}
	m.header = b[at : at+headerSize]
	m.payload = b[at+headerSize : at+size]
	return &m, false, at + size + 2, nil
}

// natsLastNumber splits off the number after the last space.
func natsLastNumber(fields []byte) (rest []byte, v int) {
	at := bytes.LastIndexByte(fields, ' ')
	n, _ := parseUint(fields[at+1:])
	return fields[:max(at, 0)], int(n)
}

// natsHello connects with two inboxes: 1 for entries or acknowledgements,
// 2 for the answers of JetStream's API.
func natsHello(lane int) (send []byte, until string) {
	return fmt.Appendf(nil, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n"+
		"SUB _B.%d 1\r\nSUB _A.%d 2\r\nPING\r\n", lane, lane), "PONG\r\n"
}

// natsPublish appends a publication to dst.
func natsPublish(dst []byte, subject, reply, body string) []byte {
	return fmt.Appendf(dst, "PUB %s %s %d\r\n%s\r\n", subject, reply, len(body), body)
}

// natsAppender publishes to a stream and counts its acknowledgements.
type natsAppender struct {
	entries *entrySource
	lane    int
	head    []byte
	pong    bool
}

func newNATSAppender(entries *entrySource, lane int) *natsAppender {
	return &natsAppender{
		entries: entries,
		lane:    lane,
		head:    fmt.Appendf(nil, "PUB s _B.%d %d\r\n", lane, entries.size),
	}
}

func (a *natsAppender) greeting() ([]byte, string) { return natsHello(a.lane) }

func (a *natsAppender) requests(dst []byte, n int, now int64) []byte {
	if a.pong {
		dst, a.pong = append(dst, "PONG\r\n"...), false
	}
	for range n {
		dst = append(dst, a.head...)
		dst = a.entries.put(dst, now)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func (a *natsAppender) replies(b []byte) (used, n int, err error) {
	return a.acks(b, func(ack []byte) int {
		if !bytes.HasPrefix(ack, []byte(`{"stream":`)) {
			return 0
		}
		return 1
	})
}

// acks is replies, with count to say how many appends an acknowledgement is for, 0 if it is malformed.
func (a *natsAppender) acks(b []byte, count func(ack []byte) int) (used, n int, err error) {
	for {
		msg, ping, size, err := natsScan(b[used:])
		if err == errIncomplete {
			return used, n, nil
		}
		if err != nil {
			return used, n, err
		}
		a.pong = a.pong || ping
		if msg != nil {
			appends := count(msg.payload)
			if appends == 0 {
				return used, n, unexpected("nats", msg.payload)
			}
			n += appends
		}
		used += size
	}
}

// natsReader reads a stream as JetStream's ordered consumers do: an ephemeral
// consumer without acknowledgements, pushed with flow control for a stream, or
// pulled in batches.
type natsReader struct {
	plan    readPlan
	name    string
	say     []byte
	last    uint64 // stream sequence of the last entry
	batch   int    // entries of this pull still to come
	created bool
}

func newNATSReader(plan readPlan) *natsReader {
	r := &natsReader{plan: plan, name: fmt.Sprintf("r%d", plan.lane)}
	push := ""
	if plan.pull == 0 {
		push = fmt.Sprintf(`"deliver_subject":"_B.%d","flow_control":true,"idle_heartbeat":5000000000,`, plan.lane)
	}
	config := fmt.Sprintf(`{"stream_name":"s","config":{"name":"%s",%s"deliver_policy":"all",`+
		`"ack_policy":"none","max_deliver":1,"replay_policy":"instant","mem_storage":true,"num_replicas":1}}`,
		r.name, push)
	r.say = natsPublish(nil, "$JS.API.CONSUMER.CREATE.s."+r.name, fmt.Sprintf("_A.%d", plan.lane), config)
	return r
}

func (r *natsReader) greeting() ([]byte, string) { return natsHello(r.plan.lane) }

func (r *natsReader) ask(dst []byte) []byte {
	dst = append(dst, r.say...)
	r.say = r.say[:0]
	if r.created && r.plan.pull > 0 && r.batch == 0 {
		r.batch = r.plan.pull
		dst = natsPublish(dst, "$JS.API.CONSUMER.MSG.NEXT.s."+r.name,
			fmt.Sprintf("_B.%d", r.plan.lane), fmt.Sprintf(`{"batch":%d}`, r.batch))
	}
	return dst
}

func (r *natsReader) scan(b []byte, visit func([]byte)) (used, entries int, err error) {
	for {
		msg, ping, size, err := natsScan(b[used:])
		if err == errIncomplete {
			return used, entries, nil
		}
		if err != nil {
			return used, entries, err
		}
		used += size
		switch {
		case ping:
			r.say = append(r.say, "PONG\r\n"...)
		case msg == nil:
		case msg.inbox == '2':
			if bytes.Contains(msg.payload, []byte(`"error":`)) {
				return used, entries, unexpected("nats", msg.payload)
			}
			r.created = true
		case len(msg.header) > 0:
			r.control(msg)
		default:
			seq := natsSequence(msg.reply)
			if seq != r.last+1 {
				return used, entries, fmt.Errorf("nats: entry %d after entry %d", seq, r.last)
			}
			r.last = seq
			if r.batch--; visit != nil {
				visit(msg.payload)
			}
			entries++
		}
		if r.plan.pull > 0 && r.batch == 0 {
			return used, entries, nil
		}
	}
}

// control answers flow control and the heartbeat of a stalled consumer.
func (r *natsReader) control(m *natsMessage) {
	to := m.reply
	const stalled = "Nats-Consumer-Stalled: "
	if at := bytes.Index(m.header, []byte(stalled)); at >= 0 {
		to, _, _ = bytes.Cut(m.header[at+len(stalled):], []byte("\r\n"))
	}
	if len(to) > 0 {
		r.say = fmt.Appendf(r.say, "PUB %s 0\r\n\r\n", to)
	}
}

// natsSequence parses the stream sequence in the subject for acknowledging a
// message: $JS.ACK.stream.consumer.deliveries.SEQUENCE.…
func natsSequence(subject []byte) uint64 {
	for range 5 {
		at := bytes.IndexByte(subject, '.')
		if at < 0 {
			return 0
		}
		subject = subject[at+1:]
	}
	seq, _ := parseUint(subject)
	return seq
}
