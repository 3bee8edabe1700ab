package build

import "testing"

func TestInfoString(t *testing.T) {
	if s := (Info{Version: "v1", Revision: "0123456789abcdef", Modified: true, Go: "go1", System: "x/y"}).String(); s != "v1 (revision 0123456789ab, modified, go1, x/y)" {
		t.Errorf("the text of a build is %q", s)
	}
}
