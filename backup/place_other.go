//go:build !linux

package backup

import "errors"

// clone has no portable form.
func clone(string, string) error { return errors.ErrUnsupported }

// exchange has no portable form.
func exchange(string, string) error { return errors.ErrUnsupported }
