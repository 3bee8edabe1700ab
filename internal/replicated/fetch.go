package replicated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Old messages are read by direct gets, which any up-to-date replica answers; NATS chooses one at random.
// Each message is verified. One that is missing or damaged is asked for again, in the end from the
// leader. After a replica was slow to answer, the leader is asked first for a while: a late answer fills
// the link to the slow replica, and the next would be later still.

const (
	// apiTimeout limits one request to JetStream.
	apiTimeout = 4 * time.Second
	// anyTimeout is how long the replica that NATS chooses may take to answer.
	anyTimeout = 2 * time.Second
	// A node that took slowAnswer or longer is avoided for slowTime.
	slowAnswer = time.Second
	slowTime   = 10 * time.Second
	// fetchTime is roughly how long a message is asked for if nobody answers.
	fetchTime = 10 * time.Second
	// fetchAgain is how many times any replica is asked for a message before the leader is. NATS chooses
	// the replica, so this makes it likely that each has been asked.
	fetchAgain = 8
)

// Requests and answers of JetStream's API that the client library has no calls for.
type (
	getRequest struct {
		Seq      uint64 `json:"seq,omitempty"`
		LastFor  string `json:"last_by_subj,omitempty"`
		Batch    int    `json:"batch,omitempty"`
		MaxBytes int    `json:"max_bytes,omitempty"`
	}
	getAnswer struct {
		Error *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
		Message *struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
)

// errAbsent: a server says that it does not have the message.
var errAbsent = errors.New("not found")

// A LostError says that a message cannot be read: every replica that answers lacks it or has it damaged.
type LostError struct {
	Seq uint64
	Err error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("message %d of the stream cannot be read from any node: %v", e.Seq, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// An UnavailableError says that the request may succeed later. Its text begins with "not available now:
// ", by which package server recognizes it and tells the client to try again.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "not available now: " + e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// fetch returns the message seq. The error is a LostError if no node that answers has it whole, an
// UnavailableError if none answers, or that of ctx.
func (l *Log) fetch(ctx context.Context, seq uint64) (message, error) {
	began := time.Now()
	useless := false // the leader has answered without a usable message
	for try := 0; ; try++ {
		last := try >= fetchAgain
		byLeader := last || !useless && l.isSlow()
		m, err := l.ask(ctx, seq, byLeader)
		if err == nil {
			return m, nil
		}
		bad := errors.Is(err, errMessage)
		useless = useless || byLeader && (bad || errors.Is(err, errAbsent))
		switch {
		case ctx.Err() != nil:
			return m, context.Cause(ctx)
		case errors.Is(err, errVersion):
			return m, err
		case last && (bad || errors.Is(err, errAbsent)):
			return m, &LostError{seq, err}
		case (last || byLeader) && time.Since(began) > fetchTime:
			return m, &UnavailableError{fmt.Errorf("message %d of the stream: %w", seq, readable(err))}
		case bad:
			l.damaged(seq, err)
			continue // ask another node
		}
		pause := 10 * time.Millisecond
		if errors.Is(err, errAbsent) {
			pause = time.Millisecond // ask another node soon, and in the end the leader
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(time.Duration(try+1)*pause, 100*time.Millisecond)):
		}
	}
}

// isSlow reports whether to ask the leader first: another replica was slow, and the leader was not.
func (l *Log) isSlow() bool {
	now := time.Now().UnixNano()
	return now < l.slow[0].Load() && now >= l.slow[1].Load()
}

// noteTime records whether a request that began at a time took too long, by the leader or by the replica
// that NATS chose.
func (l *Log) noteTime(began time.Time, leader bool) {
	if time.Since(began) < slowAnswer {
		return
	}
	which := &l.slow[0]
	if leader {
		which = &l.slow[1]
	}
	which.Store(time.Now().Add(slowTime).UnixNano())
}

// ask asks any replica or the leader for a message, once.
func (l *Log) ask(ctx context.Context, seq uint64, leader bool) (message, error) {
	get, patience := l.direct, anyTimeout
	if leader {
		get, patience = l.byLeader, apiTimeout
	}
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, got, err := get(asking, getRequest{Seq: seq})
	if ctx.Err() == nil {
		l.noteTime(began, leader)
	}
	if err == nil && got != seq {
		err = fmt.Errorf("asked for message %d, got %d", seq, got)
	}
	if err != nil {
		return message{}, err
	}
	return decode(b, seq)
}

// direct asks any replica for a message. The error is errAbsent if the replica does not have it.
func (l *Log) direct(ctx context.Context, r getRequest) (data []byte, seq uint64, err error) {
	answer, err := l.request(ctx, "DIRECT.GET", r)
	if err != nil {
		return nil, 0, err
	}
	switch status := answer.Header.Get("Status"); status {
	case "":
	case "404":
		return nil, 0, errAbsent
	default:
		return nil, 0, fmt.Errorf("a direct get was refused: %s %s", status, answer.Header.Get("Description"))
	}
	seq, err = strconv.ParseUint(answer.Header.Get("Nats-Sequence"), 10, 64)
	return answer.Data, seq, err
}

// byLeader asks the stream's leader for a message. The error is errAbsent if the leader does not have it.
func (l *Log) byLeader(ctx context.Context, r getRequest) (data []byte, seq uint64, err error) {
	answer, err := l.request(ctx, "STREAM.MSG.GET", r)
	if err != nil {
		return nil, 0, err
	}
	var a getAnswer
	if err := json.Unmarshal(answer.Data, &a); err != nil {
		return nil, 0, fmt.Errorf("the answer of the stream's leader: %w", err)
	}
	switch {
	case a.Error != nil && a.Error.ErrCode == 10037:
		return nil, 0, errAbsent
	case a.Error != nil:
		return nil, 0, errors.New(a.Error.Description)
	case a.Message == nil:
		return nil, 0, errors.New("the stream's leader answers without a message")
	}
	return a.Message.Data, a.Message.Seq, nil
}

// request makes one request to JetStream's API, within apiTimeout.
func (l *Log) request(ctx context.Context, call string, r any) (*nats.Msg, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return l.conn.RequestWithContext(ctx, l.api+call+"."+l.config.Stream, body)
}
