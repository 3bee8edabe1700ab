//go:build !unix

package engine

import "io/fs"

const ownerKnown = false

func owner(fs.FileInfo) (uid int, ok bool) { return 0, false }
