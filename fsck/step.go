package fsck

// Step is one change that a repair makes, printed before it is made.
type Step struct {
	// Action is one of the words in docs/FSCK.md.
	Action string `json:"action"`
	// File is the file or directory that changes.
	File string `json:"file"`
	// First and Last are the indices concerned, 0 where there is none.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Message is for a person: what is done and why.
	Message string `json:"message"`
	// DryRun says that it is not done.
	DryRun bool `json:"dry_run"`
}

// Outcome is the outcome of a repair.
type Outcome struct {
	// Steps is how many steps were made, or would have been.
	Steps int `json:"steps"`
	// GivenUp is how many entries were given up at the end of the log, where the
	// index had records without content; Head is the head after that.
	GivenUp uint64 `json:"given_up"`
	Head    uint64 `json:"head"`
	// Parted is the first index at which the other copy holds another log than
	// this one, 0 if there is none: from there on, only what the hashes in the
	// index prove was taken from it.
	Parted uint64 `json:"parted,omitempty"`
	DryRun bool   `json:"dry_run"`
}
