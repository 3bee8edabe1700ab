package where

import (
	"strings"
	"testing"
)

var notations = []struct {
	args []string
	want string
}{
	{[]string{`user=ann`}, `{"user":"ann"}`},
	{[]string{`user="ann"`}, `{"user":"ann"}`},
	{[]string{`user=`}, `{"user":""}`},
	{[]string{`order.state=paid`}, `{"order":{"state":"paid"}}`},
	{[]string{`a.b.c=1`}, `{"a":{"b":{"c":1}}}`},
	{[]string{`n=5`}, `{"n":5}`},
	{[]string{`n=5.0`}, `{"n":5}`},
	{[]string{`n="5"`}, `{"n":"5"}`},
	{[]string{`n=05`}, `{"n":"05"}`},
	{[]string{`n=5 apples`}, `{"n":"5 apples"}`},
	{[]string{`n= 5 `}, `{"n":5}`},
	{[]string{`n= x `}, `{"n":" x "}`},
	{[]string{`n=12345678901234567890`}, `{"n":12345678901234567890}`},
	{[]string{`v=1.2.3`}, `{"v":"1.2.3"}`},
	{[]string{`ok=true`}, `{"ok":true}`},
	{[]string{`ok="true"`}, `{"ok":"true"}`},
	{[]string{`ok=True`}, `{"ok":"True"}`},
	{[]string{`gone=null`}, `{"gone":null}`},
	{[]string{`tags=["a", "b"]`}, `{"tags":["a","b"]}`},
	{[]string{`order={"state": "paid"}`}, `{"order":{"state":"paid"}}`},
	{[]string{`order={}`}, `{"order":{}}`},
	{[]string{`q=a=b`}, `{"q":"a=b"}`},
	{[]string{`url=http://x/?a.b=1&c=<2>`}, `{"url":"http://x/?a.b=1&c=<2>"}`},
	{[]string{`say="hi" "ho"`}, `{"say":"\"hi\" \"ho\""}`},
	{[]string{`say={"a":1,"a":2} twice`}, `{"say":"{\"a\":1,\"a\":2} twice"}`},
	{[]string{"name with space=\tx"}, `{"name with space":"\tx"}`},
	{[]string{`{"a.b": 1.0}`}, `{"a.b":1}`},
	{[]string{` { "a=b" : "c" } `}, `{"a=b":"c"}`},
	{[]string{`{}`}, `{}`},
	{[]string{`user=ann`, `n=5`}, `{"n":5,"user":"ann"}`},
	{[]string{`user=ann`, `user="ann"`}, `{"user":"ann"}`},
	{[]string{`o.a=1`, `o.b=2`, `{"o":{"c":{"d":3}}}`, `o.c.e=4`}, `{"o":{"a":1,"b":2,"c":{"d":3,"e":4}}}`},
	{[]string{`o={}`, `o.a=1`, `{}`}, `{"o":{"a":1}}`},
	{[]string{`n=1`, `n=1.0`}, `{"n":1}`},
}

func TestParse(t *testing.T) {
	for _, tt := range notations {
		object, err := Parse(tt.args)
		if string(object) != tt.want || err != nil {
			t.Errorf("%q: %s, %v, want %s", tt.args, object, err, tt.want)
		}
	}
	if object, err := Parse(nil); object != nil || err != nil {
		t.Errorf("without arguments: %s, %v", object, err)
	}
}

var notationErrors = []struct {
	args []string
	want string
}{
	{[]string{``}, `--where "" has no =, want name=value or a JSON object`},
	{[]string{`user`}, `--where "user" has no =, want name=value or a JSON object`},
	{[]string{`["a"]`}, `--where "[\"a\"]" has no =, want name=value or a JSON object`},
	{[]string{`=ann`}, `--where "=ann" has an empty name; give such a member as a JSON object: {"":1}`},
	{[]string{`a..b=1`}, `--where "a..b=1" has an empty name; give such a member as a JSON object: {"":1}`},
	{[]string{`a.=1`}, `--where "a.=1" has an empty name; give such a member as a JSON object: {"":1}`},
	{[]string{"a=\xff"}, `--where "a=\xff" is not UTF-8`},
	{[]string{`a={"b":1,"b":2}`}, `--where "a={\"b\":1,\"b\":2}" has a value with duplicate member`},
	{[]string{`a="\ud800"`}, `--where "a=\"\\ud800\"" has a value with lone surrogate`},
	{[]string{`{"a":1,"a":2}`}, `--where "{\"a\":1,\"a\":2}" has duplicate member "a", at byte 7`},
	{[]string{`{"a"}`}, `--where "{\"a\"}" is not JSON: found '}' at byte 4, want ':'`},
	{[]string{`{} {}`}, `--where "{} {}" is not one object: unexpected data after it, at byte 3`},
	{[]string{`n=1`, `n=2`}, `--where asks for two values of "n": 1 and 2; no entry has both`},
	{[]string{`o.state=paid`, `{"o":{"state":"open"}}`}, `--where asks for two values of "o.state": "paid" and "open"; no entry has both`},
	{[]string{`o=1`, `o.state=paid`}, `--where asks for two values of "o": 1 and an object; no entry has both`},
	{[]string{`o.state=paid`, `o=[]`}, `--where asks for two values of "o": an object and []; no entry has both`},
}

func TestParseErrors(t *testing.T) {
	for _, tt := range notationErrors {
		object, err := Parse(tt.args)
		if object != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%q: %s, %v\nwant %s", tt.args, object, err, tt.want)
		}
	}
	deep := strings.Repeat("a.", 128) + "a=1"
	if _, err := Parse([]string{deep}); err == nil || !strings.Contains(err.Error(), "has more than 128 levels") {
		t.Errorf("129 levels: %v", err)
	}
	if _, err := Parse([]string{deep[2:]}); err != nil {
		t.Errorf("128 levels: %v", err)
	}
	long := strings.Repeat("é", 100)
	if _, err := Parse([]string{"a=" + long, "a=1"}); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long value: %v", err)
	}
}
