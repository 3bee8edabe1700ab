package engine

// space is the space of a file system, in bytes.
type space struct {
	used int64
	free int64 // available to the server
}
