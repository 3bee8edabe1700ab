package client_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// asks is the client's question for a server's features, and knowing the answer of one that
// has all of them.
const (
	asks    = `{"stat":true} `
	knowing = `{"stat":{"version":"2.1.0","head":3,"features":["entries","hash","if","last","once","receipt","since","through","time","where"]}}`
)

// TestPutSends: the line sent for each kind of write, and the result of its answer.
func TestPutSends(t *testing.T) {
	at, zero := uint64(41), uint64(0)
	one, three := [][]byte{[]byte(` {"n":1}`)}, [][]byte{[]byte("[1]"), []byte("[\n2]"), []byte("null")}
	clock := time.Date(2026, 11, 28, 9, 0, 0, 123456000, time.UTC)
	for _, c := range []struct {
		name    string
		write   client.Write
		sends   string
		answer  string
		want    client.Result
		outcome error
		text    string
	}{
		{name: "one entry", write: client.Write{Entries: one}, sends: `"entry":{"n":1}`, answer: `"index":42`, want: client.Result{Index: 42}},
		{name: "if", write: client.Write{Entries: one, If: &at}, sends: `"entry":{"n":1},"if":41`, answer: `"index":42`, want: client.Result{Index: 42}},
		{name: "if empty", write: client.Write{Entries: one, If: &zero}, sends: `"entry":{"n":1},"if":0`, answer: `"index":1`, want: client.Result{Index: 1}},
		{name: "if not", write: client.Write{Entries: one, If: &at}, sends: `"entry":{"n":1},"if":41`,
			answer: `"error":"not stored: the head is 57, not 41","head":57`, outcome: client.ErrRefused, text: "not stored: the head is 57, not 41"},
		{name: "once", write: client.Write{Entries: one, Once: true}, sends: `"entry":{"n":1},"once":true`, answer: `"index":42`, want: client.Result{Index: 42}},
		{name: "seen", write: client.Write{Entries: one, Once: true}, sends: `"entry":{"n":1},"once":true`, answer: `"index":42,"seen":true`, want: client.Result{Index: 42, Seen: true}},
		{name: "several", write: client.Write{Entries: three}, sends: `"entries":[[1],[ 2],null]`, answer: `"index":42,"count":3`, want: client.Result{Index: 42}},
		{name: "several, too few stored", write: client.Write{Entries: three}, sends: `"entries":[[1],[ 2],null]`, answer: `"index":42`, outcome: client.ErrUnknown},
		{name: "receipt", write: client.Write{Entries: one, Receipt: true}, sends: `"entry":{"n":1},"receipt":true`,
			answer: `"index":42,"hash":"ab12","time":"2026-11-28T09:00:00.123456Z"`, want: client.Result{Index: 42, Hashes: []string{"ab12"}, Time: clock}},
		{name: "all but once", write: client.Write{Entries: three, If: &at, Receipt: true}, sends: `"entries":[[1],[ 2],null],"if":41,"receipt":true`,
			answer: `"index":42,"count":3,"hashes":["a","b","c"],"time":"2026-11-28T09:00:00.123456Z"`, want: client.Result{Index: 42, Hashes: []string{"a", "b", "c"}, Time: clock}},
	} {
		for _, async := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: ", async"}[async], func(t *testing.T) {
				noLeaks(t)
				addr := peer(t, func(p *conversation) {
					if strings.Contains(c.sends, `},"`) || strings.Contains(c.sends, "entries") {
						if !p.want(asks) {
							return
						}
						p.say(knowing)
					}
					if p.want(`{"id":"0",` + c.sends + `}`) {
						p.say(`{"id":"0",` + c.answer + `}`)
					}
					p.rest()
				})
				cl := dial(t, addr, client.Options{})
				got, err := put(cl, t, c.write, async)
				outcome(t, err, c.outcome)
				if c.text != "" && fmt.Sprint(err) != c.text {
					t.Errorf("error is %v, want %s", err, c.text)
				}
				var condition *client.ConditionError
				if errors.As(err, &condition) != (c.text != "") || condition != nil && *condition != (client.ConditionError{Head: 57, Want: 41}) {
					t.Errorf("error is %#v", err)
				}
				if !c.want.Time.Equal(got.Time) {
					t.Errorf("time is %v, want %v", got.Time, c.want.Time)
				}
				if got.Index != c.want.Index || got.Seen != c.want.Seen || !reflect.DeepEqual(got.Hashes, c.want.Hashes) {
					t.Errorf("result is %+v, want %+v", got, c.want)
				}
			})
		}
	}
}

// put makes a write in one of the two ways.
func put(c *client.Client, t *testing.T, w client.Write, async bool) (client.Result, error) {
	if !async {
		return c.Put(patient(t), w)
	}
	type answer struct {
		r   client.Result
		err error
	}
	got := make(chan answer, 1)
	if err := c.PutAsync(patient(t), w, func(r client.Result, err error) { got <- answer{r, err} }); err != nil {
		return client.Result{}, err
	}
	a := <-got
	return a.r, a.err
}
