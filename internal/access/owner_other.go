//go:build !unix

package access

import "os"

func keepOwner(*os.File, os.FileInfo) error { return nil } // the file has the owner of its directory
