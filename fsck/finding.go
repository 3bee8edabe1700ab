package fsck

import "slices"

// Severity is how bad a finding is.
type Severity string

const (
	// Error: entries are missing or altered, or a file is not what it should be.
	Error Severity = "error"
	// Hint: harmless. The log is intact, and the server needs no help.
	Hint Severity = "hint"
)

// Kind names what a finding is about. docs/FSCK.md has a section on each.
type Kind string

const (
	// Files and directories as such.
	Unreadable Kind = "unreadable"
	WrongType  Kind = "wrong-type"
	Foreign    Kind = "foreign"
	Version    Kind = "version"
	StrayFile  Kind = "stray-file"
	NoMark     Kind = "mark-missing"

	// Segments.
	SegmentHeader  Kind = "segment-header"
	SegmentSize    Kind = "segment-size"
	SegmentGap     Kind = "segment-gap"
	SegmentOverlap Kind = "segment-overlap"
	SegmentChain   Kind = "segment-chain"
	SegmentTable   Kind = "segment-table"
	BatchDamaged   Kind = "batch-damaged"
	TornTail       Kind = "torn-tail"
	Unsealed       Kind = "segment-unsealed"
	Settled        Kind = "segment-settled"
	Leftover       Kind = "segment-leftover"
	Residue        Kind = "segment-residue"

	// The index.
	IndexFile      Kind = "index-file"
	IndexShort     Kind = "index-short"
	IndexAhead     Kind = "index-ahead"
	IndexLag       Kind = "index-lag"
	IndexTorn      Kind = "index-torn"
	RecordDamaged  Kind = "record-damaged"
	RecordMismatch Kind = "record-mismatch"

	// The lookup tables, which are derived from the log.
	LookupStale   Kind = "lookup-stale"
	LookupDamaged Kind = "lookup-damaged"

	// Entries and blobs.
	BlobMissing  Kind = "blob-missing"
	BlobDamaged  Kind = "blob-damaged"
	BlobTorn     Kind = "blob-torn"
	BlobAbsent   Kind = "blob-absent"
	BlobOrphan   Kind = "blob-orphan"
	NotCanonical Kind = "not-canonical"
	EntryLost    Kind = "entry-lost"
)

// Kinds returns all kinds of findings, errors and then hints, in the order of docs/FSCK.md.
func Kinds() []Kind {
	return []Kind{
		Unreadable, WrongType, Foreign, Version,
		SegmentHeader, SegmentSize, SegmentGap, SegmentOverlap, SegmentChain, SegmentTable, BatchDamaged,
		IndexFile, IndexShort, IndexAhead, RecordDamaged, RecordMismatch,
		BlobMissing, BlobDamaged, NotCanonical, LookupStale,

		StrayFile, NoMark, TornTail, Unsealed, Settled, Leftover, Residue, IndexLag, IndexTorn,
		BlobTorn, BlobAbsent, BlobOrphan, LookupDamaged, EntryLost,
	}
}

// Severity returns how bad findings of the kind are.
func (k Kind) Severity() Severity {
	kinds := Kinds()
	if slices.Contains(kinds[slices.Index(kinds, StrayFile):], k) {
		return Hint
	}
	return Error
}

// Finding is one result of a check.
type Finding struct {
	Severity Severity `json:"severity"`
	Kind     Kind     `json:"kind"`
	// File is the path of the affected file or directory, and Offset the place in it, in bytes.
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	// First and Last are the affected indices; both are 0 if there is none, or none is known. All
	// entries from First to Last may be affected or, for a blob that several entries share, only
	// those with its hash.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Want and Got are hashes or checksums, in hex, if those differ.
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
	// Message is for people: what was found, and what should be there.
	Message string `json:"message"`
}

// Summary is the overall result of a check.
type Summary struct {
	// Store is the id of the store, empty if it is unknown.
	Store string `json:"store"`
	// Entries is how many entries the log has: the head, captured at the start.
	Entries uint64 `json:"entries"`
	// First is the first index that segments hold: earlier entries are loose.
	First uint64 `json:"first"`
	// Indexed is how many entries have a record in the index.
	Indexed uint64 `json:"indexed"`
	// Blobs counts the blob files, which hold distinct entries each.
	Blobs int64 `json:"blobs"`
	// Segments counts the segment files.
	Segments int `json:"segments"`
	// Bytes is the size of all blobs and segments and of the index.
	Bytes int64 `json:"bytes"`
	// Damaged counts the entries that cannot be read; Lost those that are recorded as lost.
	Damaged uint64 `json:"damaged"`
	Lost    uint64 `json:"lost"`
	// Archived counts the entries that are only in the archive at Archive. Their contents have not
	// been checked: their hashes are the index's.
	Archived uint64 `json:"archived,omitempty"`
	Archive  string `json:"archive,omitempty"`
	// Errors and Hints count the findings.
	Errors int64 `json:"errors"`
	Hints  int64 `json:"hints"`
	// Digest is the BLAKE3 of the hashes of entries 1 to Through, 32 bytes each, in order; 32 zero
	// bytes stand for a lost entry. It is empty if some of them could not be verified.
	Digest  string `json:"digest"`
	Through uint64 `json:"through"`
	// Quick says that contents were not read: the hashes are the index's.
	Quick bool `json:"quick"`
	// Seconds is the time that the check took.
	Seconds float64 `json:"seconds"`
}
