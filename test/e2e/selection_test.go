package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/segment"
)

// selectable starts a server whose log has 40 entries, every fourth of them ann's, and returns
// when the first 20 and when the others were stored.
func selectable(t *testing.T) (d *daemon, data, early, late string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	d = start(t, "DATA="+data)
	for half := range 2 {
		var in strings.Builder
		for i := 1; i <= 20; i++ {
			n := half*20 + i
			user := "bob"
			if n%4 == 0 {
				user = "ann"
			}
			fmt.Fprintf(&in, "{\"n\":%d,\"user\":{\"name\":%q},\"text\":\"a,b\"}\n", n, user)
		}
		before := time.Now()
		if r := play(t, at(d.addr), in.String(), "append", "--quiet"); r.code != 0 {
			t.Fatalf("append: %+v", r)
		}
		for !time.Now().After(before.Add(time.Millisecond)) {
		}
	}
	stored := func(index string) string {
		var line struct{ Time string }
		if r := play(t, nil, "", "cat", "--time", "--from", index, "--count", "1", data); json.Unmarshal([]byte(r.out), &line) != nil {
			t.Fatalf("entry %s: %+v", index, r)
		}
		return line.Time
	}
	return d, data, stored("1"), stored("21")
}

// TestSelection: the entries that combined flags of the reading commands choose, and their order.
func TestSelection(t *testing.T) {
	d, data, early, late := selectable(t)
	sources := map[string][]string{"cat": {data}, "read": {d.addr}}
	times := strings.NewReplacer("EARLY", early, "LATE", late)
	for _, tt := range []struct{ args, want string }{
		{"--from 39", "39 40"},
		{"--from 38 --count 2", "38 39"},
		{"--through 2", "1 2"},
		{"--from 3 --through 3", "3"},
		{"--from 39 --through 99", "39 40"},
		{"--from 41", ""},
		{"--last 2", "39 40"},
		{"--last 0", ""},
		{"--last 99 --through 2", "1 2"},
		{"--last 2 --through 20", "19 20"},
		{"--last 5 --from 39", "39 40"},
		{"--last 3 --count 2", "38 39"},
		{"--since LATE --count 2", "21 22"},
		{"--since EARLY --through 2", "1 2"},
		{"--since 1h --last 1", "40"},
		{"--since 1h --until 30m", ""},
		{"--until 30m", ""},
		{"--since 2999-01-01", ""},
		{"--since LATE --from 39", "39 40"},
		{"--since LATE --from 2 --count 1", "21"},
		{"--until LATE --last 2", "19 20"},
		{"--since EARLY --until LATE --from 20", "20"},
		{"--until 2999-01-01 --last 1", "40"},
		{"--where user.name=ann", "4 8 12 16 20 24 28 32 36 40"},
		{"--where user.name=ann --count 2", "4 8"},
		{"--where user.name=ann --last 2", "36 40"},
		{"--where user.name=ann --last 2 --through 39", "32 36"},
		{"--where user.name=ann --last 99 --from 30", "32 36 40"},
		{"--where user.name=ann --where n=8", "8"},
		{`--where {"user":{"name":"ann"},"n":8}`, "8"},
		{"--where text=a,b --last 1", "40"},
		{"--where user.name=eve", ""},
		{"--where user.name=eve --last 1", ""},
		{"--reverse --last 2", "40 39"},
		{"--reverse --count 2", "40 39"},
		{"--reverse --through 2", "2 1"},
		{"--reverse --from 39", "40 39"},
		{"--reverse --from 41", ""},
		{"--reverse --until LATE --count 1", "20"},
		{"--reverse --where user.name=ann --count 2 --through 39", "36 32"},
		{"--reverse --where user.name=ann --last 3 --count 2", "40 36"},
	} {
		for command, where := range sources {
			args := append(append([]string{command, "--index"}, strings.Fields(times.Replace(tt.args))...), where...)
			if r := play(t, nil, "", args...); r.code != 0 || r.err != "" || strings.Join(strings.Fields(r.out), " ") != tt.want {
				t.Errorf("%s %s: %+v, want %s", command, tt.args, r, tt.want)
			}
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"", "31 32 33 34 35 36 37 38 39 40"},
		{"-n 2", "39 40"},
		{"--last 2", "39 40"},
		{"--count 2", "39 40"},
		{"-n 0", ""},
		{"-n 2 --reverse", "40 39"},
		{"-n 1 --through 20", "20"},
		{"-n 1 --until LATE", "20"},
		{"--since LATE --through 32", "21 22 23 24 25 26 27 28 29 30 31 32"},
		{"--since LATE -n 1", "40"},
		{"-n 2 --where user.name=ann", "36 40"},
		{"-f -n 2 --through 40", "39 40"},
		{"-f -n 1 --through 5 --where user.name=ann", "4"},
		{"-f -n 0 --through 30", ""},
	} {
		args := append(append([]string{"tail", "--index"}, strings.Fields(times.Replace(tt.args))...), d.addr)
		if r := play(t, nil, "", args...); r.code != 0 || r.err != "" || strings.Join(strings.Fields(r.out), " ") != tt.want {
			t.Errorf("tail %s: %+v, want %s", tt.args, r, tt.want)
		}
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}

// TestLineForms: the forms in which an entry is printed.
func TestLineForms(t *testing.T) {
	d, data, early, _ := selectable(t)
	hash := segment.Sum([]byte(`{"n":1,"text":"a,b","user":{"name":"bob"}}`)).String()
	for _, tt := range []struct{ args, want string }{
		{"", `{"index":1,"entry":{"n":1,"text":"a,b","user":{"name":"bob"}}}`},
		{"--time", `{"index":1,"time":"EARLY","entry":{"n":1,"text":"a,b","user":{"name":"bob"}}}`},
		{"--hash --time", `{"index":1,"time":"EARLY","hash":"HASH","entry":{"n":1,"text":"a,b","user":{"name":"bob"}}}`},
		{"--entry", `{"n":1,"text":"a,b","user":{"name":"bob"}}`},
		{"--index", "1"},
		{"--pretty", "{\n  \"n\": 1,\n  \"text\": \"a,b\",\n  \"user\": {\n    \"name\": \"bob\"\n  }\n}"},
		{"--pretty --entry", "{\n  \"n\": 1,\n  \"text\": \"a,b\",\n  \"user\": {\n    \"name\": \"bob\"\n  }\n}"},
		{"--pretty --time", "{\n  \"index\": 1,\n  \"time\": \"EARLY\",\n  \"entry\": {\n    \"n\": 1,\n    \"text\": \"a,b\",\n    \"user\": {\n      \"name\": \"bob\"\n    }\n  }\n}"},
	} {
		want := strings.NewReplacer("EARLY", early, "HASH", hash).Replace(tt.want) + "\n"
		for command, where := range map[string]string{"cat": data, "read": d.addr} {
			args := append(append([]string{command, "--count", "1"}, strings.Fields(tt.args)...), where)
			if r := play(t, nil, "", args...); r.code != 0 || r.err != "" || r.out != want {
				t.Errorf("%s %s: %+v, want %s", command, tt.args, r, want)
			}
		}
	}
}

// TestSelectionUsage: contradictory flags are wrong usage, and the line says why.
func TestSelectionUsage(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"cat --since yesterday", `--since: "yesterday" is not a time, want one such as`},
		{"cat --until 1.5h", `--until: "1.5h" is not a time`},
		{"cat --from 3 --through 2", "--through 2 is before --from 3; see `tcp-log-server cat --help`"},
		{"cat --since 1h --until 2h", "--until 2h is not after --since 1h"},
		{"cat --through 0", "through is 0, want 1 or more"},
		{"cat --where user", `--where "user" has no =, want name=value or a JSON object`},
		{"cat --where [1]", `--where "[1]"`},
		{"cat --where n=1 --where n=2", `--where asks for two values of "n"`},
		{"read --index --time", "--index prints only the index, so --time, --hash and --pretty do not go with it"},
		{"read --entry --hash", "--entry prints only the entry, so --time and --hash do not go with it"},
		{"read --entry --index", "--entry and --index do not go together"},
		{"read --reverse --follow", "--reverse and --follow exclude each other"},
		{"tail --reverse -f", "--reverse and --follow exclude each other"},
		{"tail -f --until 1h", "--until ends the read, and --follow waits for later entries"},
	} {
		r := play(t, nil, "", strings.Fields(tt.args)...)
		if r.code != cli.ExitUsage || r.out != "" {
			t.Errorf("%s: %+v", tt.args, r)
		}
		checkErrors(t, r.err, []string{tt.says})
	}
}
