package client_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// clock is a time with a whole number of microseconds.
var clock = time.Date(2026, 11, 28, 9, 0, 0, 123456000, time.UTC)

// TestReadOptions: the line sent for each option, once the server has said that it supports
// it, and the result of the answers.
func TestReadOptions(t *testing.T) {
	where := client.Where([]byte("{\"a\":\n1}"))
	for _, c := range []struct {
		name        string
		from, count uint64
		options     []client.ReadOption
		sends       string
		answers     []string
		want        []string
	}{
		{name: "since", options: []client.ReadOption{client.Since(clock)}, sends: `{"since":"2026-11-28T09:00:00.123456Z"}`,
			answers: []string{`{"index":7,"entry":[7]}`, `{"index":8,"entry":[8]}`, `{"current":true}`}, want: []string{"7 [7]", "8 [8]"}},
		{name: "since, in another zone and rounded up", options: []client.ReadOption{client.Since(clock.Add(1).In(time.FixedZone("", 3600)))}, sends: `{"since":"2026-11-28T09:00:00.123457Z"}`,
			answers: []string{`{"current":true}`}},
		{name: "since, bounded", count: 2, options: []client.ReadOption{client.Since(clock)}, sends: `{"since":"2026-11-28T09:00:00.123456Z","read":2}`,
			answers: []string{`{"index":7,"entry":[7]}`, `{"index":8,"entry":[8]}`, `{"head":9}`}, want: []string{"7 [7]", "8 [8]"}},
		{name: "since, with a gap", options: []client.ReadOption{client.Since(clock)}, sends: `{"since":"2026-11-28T09:00:00.123456Z"}`,
			answers: []string{`{"index":7,"entry":[7]}`, `{"index":9,"entry":[9]}`}, want: []string{"7 [7]", "not the protocol of tcp-log-server: entry 9 came where 8 should"}},
		{name: "through", from: 2, options: []client.ReadOption{client.Through(3)}, sends: `{"from":2,"through":3}`,
			answers: []string{`{"index":2,"entry":[2]}`, `{"index":3,"entry":[3]}`, `{"head":9}`}, want: []string{"2 [2]", "3 [3]"}},
		{name: "through, beyond the head", from: 2, options: []client.ReadOption{client.Through(3)}, sends: `{"from":2,"through":3}`,
			answers: []string{`{"index":2,"entry":[2]}`, `{"current":true}`}, want: []string{"2 [2]"}},
		{name: "time and hash", from: 1, options: []client.ReadOption{client.WithTime(), client.WithHash()}, sends: `{"from":1,"time":true,"hash":true}`,
			answers: []string{
				`{"index":1,"time":"2026-11-28T09:00:00.123456Z","hash":"ab12","entry":{"entry":1}}`,
				`{"index":2,"error":"gone"}`,
				`{"index":3,"time":"2026-11-28T09:00:00.123456Z","error":"gone"}`,
				`{"entry":{"a":1},"hash":"cd","index":4,"time":"2026-11-28T09:00:00.123456Z"}`,
				`{"index":5,"time":"2026-11-28T10:00:00.123456+01:00","hash":"ef","entry":[{"hash":"no"}]}`,
				`{"index":6,"time":null,"hash":"ef","entry":[]}`, `{"current":true}`,
			},
			want: []string{`1 {"entry":1} 09:00:00.123456 ab12`, "entry 2: gone", "entry 3: gone", `4 {"a":1} 09:00:00.123456 cd`, `5 [{"hash":"no"}] 09:00:00.123456 ef`, "6 [] ef"}},
		{name: "time", from: 1, options: []client.ReadOption{client.WithTime()}, sends: `{"from":1,"time":true}`,
			answers: []string{`{"index":1,"time":"2026-11-28T09:00:00Z","entry":[1]}`, `{"current":true}`}, want: []string{"1 [1] 09:00:00.000000"}},
		{name: "hash", from: 1, options: []client.ReadOption{client.WithHash()}, sends: `{"from":1,"hash":true}`,
			answers: []string{`{"index":1,"hash":"ab","entry":[1]}`, `{"current":true}`}, want: []string{"1 [1] ab"}},
		{name: "where", from: 1, count: 3, options: []client.ReadOption{where}, sends: `{"from":1,"read":3,"where":{"a": 1}}`,
			answers: []string{`{"index":4,"entry":{"a":1}}`, `{"at":900}`, `{"index":1200,"entry":{"a":1,"b":2}}`, `{"head":1300}`},
			want:    []string{`4 {"a":1}`, `1200 {"a":1,"b":2}`}},
		{name: "where, back", from: 1, options: []client.ReadOption{where}, sends: `{"from":1,"where":{"a": 1}}`,
			answers: []string{`{"at":900}`, `{"index":900,"entry":{"a":1}}`}, want: []string{"not the protocol of tcp-log-server: entry 900 came where 901 should"}},
		{name: "all", count: 5, options: []client.ReadOption{where, client.Since(clock), client.Through(9), client.WithTime(), client.WithHash()},
			sends:   `{"since":"2026-11-28T09:00:00.123456Z","read":5,"through":9,"time":true,"hash":true,"where":{"a": 1}}`,
			answers: []string{`{"head":9}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			addr := peer(t, func(p *conversation) {
				if p.want(asks, c.sends) {
					p.say(append([]string{knowing}, c.answers...)...)
				}
				p.rest()
			})
			cl := dial(t, addr, client.Options{})
			var got []string
			for e, err := range cl.Read(patient(t), c.from, c.count, c.options...) {
				if err != nil {
					got = append(got, err.Error())
					continue
				}
				text := fmt.Sprintf("%d %s", e.Index, e.Value)
				if !e.Time.IsZero() {
					text += e.Time.UTC().Format(" 15:04:05.000000")
				}
				got = append(got, strings.TrimSpace(text+" "+e.Hash))
			}
			expect(t, c.name, got, c.want...)
		})
	}
}

// TestReadLast: the last entries are those before the head that the server reported.
func TestReadLast(t *testing.T) {
	noLeaks(t)
	for last, from := range map[uint64]uint64{1: 3, 2: 2, 3: 1, 4: 1, 1 << 63: 1} {
		cl := dial(t, peer(t, func(p *conversation) {
			// No feature is needed.
			if p.want(asks) {
				p.say(`{"stat":{"head":3}}`)
			}
			if p.want(fmt.Sprintf(`{"from":%d,"read":9}`, from)) {
				p.say(fmt.Sprintf(`{"index":%d,"entry":[]}`, from), `{"current":true}`)
			}
			p.rest()
		}), client.Options{})
		expect(t, fmt.Sprint(last), collect(cl.Read(patient(t), 0, 9, client.Last(last))), fmt.Sprintf("%d []", from))
	}
	cl := dial(t, peer(t, func(p *conversation) { p.want(asks); p.say(`{"stat":{}}`); p.rest() }), client.Options{})
	expect(t, "a server that has no head", collect(cl.Follow(patient(t), 0, client.Last(1))), "not supported: the server does not tell its head, which Last needs")
}

// TestReadUnsupported: a read with options that the server does not support yields only an
// error that says which.
func TestReadUnsupported(t *testing.T) {
	noLeaks(t)
	for _, stat := range []string{`{"stat":{"version":"2.0.3"}}`, `{"error":"invalid message"}`} {
		for name, option := range map[string]client.ReadOption{
			"through": client.Through(9), "time": client.WithTime(), "hash": client.WithHash(), "where": client.Where([]byte("{}")),
		} {
			cl := dial(t, peer(t, func(p *conversation) {
				p.line()
				p.say(stat, `{"index":1,"entry":{}}`, `{"current":true}`)
				p.rest()
			}), client.Options{})
			got := collect(cl.Follow(patient(t), 1, option))
			if len(got) != 1 || !strings.HasPrefix(got[0], "not supported: the server, ") || !strings.Contains(got[0], name) {
				t.Errorf("%s: got %q", name, got)
			}
		}
	}
	cl := dial(t, peer(t, func(p *conversation) {
		p.line()
		p.say(`{"error":"unauthorized: this token may not read"}`)
		p.rest()
	}), client.Options{})
	expect(t, "without the right", collect(cl.Follow(patient(t), 1, client.WithTime())), "the server says: unauthorized: this token may not read")
}

// TestReadOptionsInvalid: an invalid read is refused before anything is sent.
func TestReadOptionsInvalid(t *testing.T) {
	noLeaks(t)
	c := dial(t, peer(t, func(p *conversation) {
		if line, ok := p.line(); ok {
			t.Errorf("the client sends %q", line)
		}
	}), client.Options{})
	since := client.Since(clock)
	for _, bad := range []struct {
		from    uint64
		options []client.ReadOption
		text    string
	}{
		{0, []client.ReadOption{client.WithTime()}, "a read begins at index 1 or later, not at 0"},
		{1, []client.ReadOption{since}, "a read begins at index 1, and has Since or Last, want one of them"},
		{0, []client.ReadOption{since, client.Last(1)}, "a read has both Since and Last, want one of them"},
		{0, []client.ReadOption{client.Last(0)}, "Last is 0, want 1 or more"},
		{1, []client.ReadOption{client.Through(0)}, "Through is 0, want an index"},
		{1, []client.ReadOption{client.Where(nil)}, "Where: not a JSON object, array or null: it is empty"},
		{1, []client.ReadOption{client.Where([]byte("[]"))}, "Where is [], want an object"},
		{1, []client.ReadOption{client.Where([]byte(`{"a":}`))}, "Where: not a JSON object, array or null: not JSON: found '}' at byte 5, want a value"},
	} {
		expect(t, "Read", collect(c.Read(patient(t), bad.from, 0, bad.options...)), bad.text)
		expect(t, "Follow", collect(c.Follow(patient(t), bad.from, bad.options...)), bad.text)
	}
}

// TestFollowResumesWithOptions: after a lost connection a Follow with options continues where
// it was, wherever it began.
func TestFollowResumesWithOptions(t *testing.T) {
	const tail = `,"through":9,"where":{"a":1}}`
	where := []client.ReadOption{client.Where([]byte(`{"a":1}`)), client.Through(9)}
	since := []client.ReadOption{client.Since(clock)}
	type exchange struct{ sends, answers string }
	at := `{"since":"2026-11-28T09:00:00.123456Z"}`
	for _, c := range []struct {
		name    string
		from    uint64
		options []client.ReadOption
		peers   [][]exchange // the lines of each, separated by |
		want    []string
	}{
		{"since, before the first entry", 0, since, [][]exchange{
			{{asks + "|" + at, knowing + `|{"current":true}`}},
			{{asks + "|" + at, knowing + `|{"index":5,"entry":[5]}`}},
			{{asks + `|{"from":5}`, knowing + `|{"index":5,"entry":[5]}|{"index":6,"entry":[6]}|{"error":"the end"}`}},
		}, []string{"5 [5]", "6 [6]", "the server says: the end"}},
		{"last, before the first entry", 0, []client.ReadOption{client.Last(2)}, [][]exchange{
			{{asks, `{"stat":{"head":7}}`}, {`{"from":6}`, ""}},
			{{`{"from":6}`, `{"index":6,"entry":[6]}|{"index":7,"entry":[7]}|{"index":8,"entry":[8]}`}},
			{{`{"from":8}`, `{"index":8,"entry":[8]}|{"index":9,"entry":[9]}|{"error":"the end"}`}},
		}, []string{"6 [6]", "7 [7]", "8 [8]", "9 [9]", "the server says: the end"}},
		{"last of an empty log", 0, []client.ReadOption{client.Last(2)}, [][]exchange{
			{{asks, `{"stat":{"head":0}}`}, {`{"from":1}`, `{"current":true}`}},
			{{`{"from":1}`, `{"index":1,"entry":[1]}|{"error":"the end"}`}},
		}, []string{"1 [1]", "the server says: the end"}},
		{"where, before the first match", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"at":3}`}},
			{{asks + `|{"from":4` + tail, knowing + `|{"index":7,"entry":{"a":1}}|{"head":9}`}},
		}, []string{`7 {"a":1}`}},
		{"where, after a match", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"index":3,"entry":{"a":1}}|{"at":5}`}},
			{{`{"from":3,"read":1}`, `{"index":3,"entry":{"a":1}}|{"head":5}`}, {asks + `|{"from":6` + tail, knowing + `|{"index":7,"entry":{"a":1}}|{"head":9}`}},
		}, []string{`3 {"a":1}`, `7 {"a":1}`}},
		{"where, in another log", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"index":3,"entry":{"a":1}}|{"at":5}`}},
			{{`{"from":3,"read":1}`, `{"index":3,"entry":{"a":2}}|{"head":5}`}},
		}, []string{`3 {"a":1}`, "the log is not the one that was followed before: entry 3 is different"}},
		{"where, in a shorter log", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"index":3,"entry":{"a":1}}|{"at":5}`}},
			{{`{"from":3,"read":1}`, `{"current":true}`}},
		}, []string{`3 {"a":1}`, "the log is not the one that was followed before: it ends before entry 3"}},
		{"where, through the end", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"index":9,"entry":{"a":1}}`}},
		}, []string{`9 {"a":1}`}},
		{"where, with a server that does not know it", 1, where, [][]exchange{
			{{asks + `|{"from":1` + tail, knowing + `|{"at":3}`}},
			{{asks + `|{"from":4` + tail, `{"stat":{}}|{"index":4,"entry":{"b":1}}`}},
		}, []string{`not supported: the server, which does not tell its version, lacks the feature "through"`}},
		{"time and hash", 1, []client.ReadOption{client.WithTime(), client.WithHash()}, [][]exchange{
			{{asks + `|{"from":1,"time":true,"hash":true}`, knowing + `|{"index":1,"time":"2026-11-28T09:00:00Z","hash":"a","entry":[1]}`}},
			{{asks + `|{"from":1,"time":true,"hash":true}`, knowing + `|{"index":1,"time":"2026-11-28T09:00:00Z","hash":"a","entry":[1]}|{"index":2,"time":"2026-11-28T09:00:00Z","hash":"b","entry":[2]}|{"error":"the end"}`}},
		}, []string{"1 [1]", "2 [2]", "the server says: the end"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			var scripts []func(p *conversation)
			for _, exchanges := range c.peers {
				scripts = append(scripts, func(p *conversation) {
					for _, e := range exchanges {
						if !p.want(strings.Split(e.sends, "|")...) {
							return
						}
						if e.answers != "" {
							p.say(strings.Split(e.answers, "|")...)
						}
					}
				})
			}
			cl := dial(t, peer(t, scripts...), quick)
			expect(t, c.name, collect(cl.Follow(patient(t), c.from, c.options...)), c.want...)
		})
	}
}

// TestProgress: a read with Where that finds nothing reports its progress.
func TestProgress(t *testing.T) {
	noLeaks(t)
	cl := dial(t, peer(t, func(p *conversation) {
		p.want(asks, `{"from":1,"where":{}}`)
		p.say(knowing, `{"at":900}`, `{"index":1000,"entry":{}}`, `{"at":1900}`, `{"current":true}`)
		p.rest()
	}), client.Options{})
	var got []uint64
	progress := client.WithProgress(func(next uint64) { got = append(got, next) })
	expect(t, "entries", collect(cl.Read(patient(t), 1, 0, client.Where([]byte("{}")), progress)), "1000 {}")
	if want := []uint64{901, 1901}; !reflect.DeepEqual(got, want) {
		t.Errorf("progress is %v, want %v", got, want)
	}
}
