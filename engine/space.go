package engine

// space is what a file system has, in bytes.
type space struct {
	used int64
	free int64 // for the server
}
