package server

// Capabilities are what a server can do and how much it takes, as {"stat":true} tells it.
type Capabilities struct {
	// Features are Features().
	Features []string `json:"features"`
	// MaxEntry is the size of the largest entry, in bytes of canonical form; MaxBatch is
	// that of the entries of one message together, with a newline after each.
	MaxEntry int `json:"max_entry"`
	MaxBatch int `json:"max_batch"`
}

// Features returns, sorted, the members of messages that not every server knows. A server
// ignores members that it does not know, so a client must look for them here before it relies
// on one: {"id":"x","entry":{},"if":41} is stored by an old server whatever its head is.
func Features() []string {
	return []string{"digest", "entries", "hash", "if", "last", "once", "receipt", "replicate", "scan", "since", "through", "time", "where"}
}

// Capabilities returns what the server can do.
func (s *Server) Capabilities() Capabilities {
	return Capabilities{Features(), s.cfg.MaxEntry, s.maxBatch}
}
