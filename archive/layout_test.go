package archive

import (
	"testing"

	"tcp-log-server/segment"
)

func TestKeysParseBack(t *testing.T) {
	want := Increment{First: 7, Offset: 64, End: 1 << 32, Last: 1 << 40, Sum: 0xdeadbeef}
	if got, ok := parseIncrement(want.Key()); !ok || got != want {
		t.Errorf("%s parses as %+v, %v", want.Key(), got, ok)
	}
	if first, ok := parseSegmentKey(SegmentKey(12)); !ok || first != 12 {
		t.Errorf("%s parses as %d, %v", SegmentKey(12), first, ok)
	}
	if first, ok := parseIndexKey(IndexKey(segment.RecordsPerFile + 1)); !ok || first != segment.RecordsPerFile+1 {
		t.Errorf("%s parses as %d, %v", IndexKey(segment.RecordsPerFile+1), first, ok)
	}
	if n, ok := parseOwnerKey(ownerKey(3)); !ok || n != 3 {
		t.Errorf("%s parses as %d, %v", ownerKey(3), n, ok)
	}
	for _, key := range []string{"open/1-2", want.Key() + "0", "open/" + want.Key()[6:], "segments/x.seg", "index/00000000000000000002", "owner/1"} {
		_, a := parseIncrement(key)
		_, b := parseSegmentKey(key)
		_, c := parseIndexKey(key)
		_, d := parseOwnerKey(key)
		if a || b || c || d {
			t.Errorf("%s parses as a key of an archive", key)
		}
	}
}
