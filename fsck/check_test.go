package fsck

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"tcp-log-server/engine"
)

// TestCheckGood checks intact stores: no errors, no change, and the same digest whatever
// the shape.
func TestCheckGood(t *testing.T) {
	digest := ""
	for _, s := range []shape{both, removed, packed} {
		for _, quick := range []bool{false, true} {
			dir := newStore(t, s)
			before := treeSum(t, dir)
			c := runCheck(t, Options{Data: dir, Quick: quick})
			t.Log(s, quick, c.Summary, c)
			if c.Errors != 0 || c.Entries != storeEntries || c.Digest == "" {
				t.Errorf("%s, quick %v: %+v\n%s", s, quick, c.Summary, c)
			}
			if digest == "" {
				digest = c.Digest
			}
			if c.Digest != digest {
				t.Errorf("%s, quick %v: digest is %s, want %s", s, quick, c.Digest, digest)
			}
			if treeSum(t, dir) != before {
				t.Errorf("%s: the check changed something", s)
			}
		}
	}
}

// TestFixtures checks every fixture: the finding, how bad it is, that the check changes
// nothing, and what the server does with such a store.
func TestFixtures(t *testing.T) {
	seen := map[Kind]bool{}
	for _, f := range fixtures {
		seen[f.kind] = true
		t.Run(string(f.kind)+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			dir := newStore(t, f.shape)
			f.do(t, dir)
			before := treeSum(t, dir)
			c := runCheck(t, Options{Data: dir})
			if !c.has(f.kind) {
				t.Errorf("found no %s:\n%s", f.kind, c)
			}
			// With one worker it finds the same.
			serial := runCheck(t, Options{Data: dir, Workers: 1})
			if a, b := sorted(c), sorted(serial); a != b {
				t.Errorf("with all cores it finds\n%s\nwith one\n%s", a, b)
			}
			c.Seconds, serial.Seconds = 0, 0
			if c.Summary != serial.Summary {
				t.Errorf("with all cores it says\n%+v\nwith one\n%+v", c.Summary, serial.Summary)
			}
			if f.kind == SegmentTable && !runCheck(t, Options{Data: dir, Quick: true}).has(SegmentTable) {
				t.Error("a quick check does not find it")
			}
			if bad := c.Errors > 0; bad != (f.kind.Severity() == Error) {
				t.Errorf("found %d errors and a %s:\n%s", c.Errors, f.kind.Severity(), c)
			}
			if treeSum(t, dir) != before {
				t.Error("the check changed something")
			}
			entries, errs, err := served(t, f.shape.config(dir))
			switch {
			case f.refused && err == nil:
				t.Errorf("the daemon starts:\n%s", c)
			case f.refused && !strings.Contains(err.Error(), "tcp-log-server fsck"),
				f.refused && f.kind != Unreadable && f.kind != Version && !errors.Is(err, engine.ErrDamaged):
				t.Errorf("the daemon refuses, but does not point to fsck: %v", err)
			case !f.refused && err != nil:
				t.Errorf("the daemon refuses: %v\n%s", err, c)
			}
			for index, text := range entries {
				if text != entryText(index) {
					t.Errorf("the daemon serves %q at %d, want %q", text, index, entryText(index))
				}
			}
			if f.kind.Severity() == Hint && len(errs) != len(f.lost) {
				t.Errorf("the daemon cannot serve %v", errs)
			}
		})
	}
	for _, k := range Kinds() {
		if !seen[k] {
			t.Errorf("kind %s has no fixture", k)
		}
	}
}

// sorted formats the findings of a check, in order.
func sorted(c checked) string {
	found := strings.Split(c.String(), "\n")
	slices.Sort(found)
	return strings.Join(found, "\n")
}
