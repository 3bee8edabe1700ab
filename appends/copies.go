package appends

// Epoch is a stretch of a log's life: each time a replica is promoted, the log that it becomes
// begins the next one. A log begins with Epoch{1, 1}.
type Epoch struct {
	Number uint64
	First  uint64 // the index of its first entry, which need not be stored yet
}

// Digest stands for a range of entries: two logs in which both sums are equal hold the same
// entries there, stored at the same times.
type Digest struct {
	// Entries is the BLAKE3-256 of the entries' hashes, 32 bytes each, and Times that of the
	// times at which they were stored, in µs since 1970 UTC, 8 bytes each, the lowest first.
	Entries, Times [32]byte
}
