package canonical

import "fmt"

// Check returns nil if src is one value in canonical form and nothing else.
//
// If src does not start with a value that may be stored, the error is that of
// [Append]. Otherwise it names the offset in bytes, from 0, of the first
// difference between src and the canonical form.
func Check(src []byte) error { return check(src, false) }

// CheckStored is like [Check], but also accepts what earlier versions stored:
// they left a number that a double does not hold as it was written, so that
// 1E-400 and 10e-401 were stored as different texts.
func CheckStored(src []byte) error {
	err := check(src, false)
	if err == nil || check(src, true) == nil {
		return nil
	}
	return err
}

// check implements Check. If stored is set, it accepts what earlier versions
// stored instead.
func check(src []byte, stored bool) error {
	form, n, err := appendForm(make([]byte, 0, len(src)), src, stored)
	if err != nil {
		return err
	}
	if string(form) == string(src) {
		return nil
	}
	at := 0
	for at < len(form) && at < n && form[at] == src[at] {
		at++
	}
	if at == n {
		return fmt.Errorf("value in canonical form ends at byte %d of %d", n, len(src))
	}
	return fmt.Errorf("not in canonical form at byte %d", at)
}
