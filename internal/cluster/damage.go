package cluster

import "fmt"

// Damage says what is wrong with a replica, and where.
type Damage struct {
	File   string
	Offset int64
	After  uint64 // the sequence of the last message before it
	What   string
	Gone   bool // the store lost messages that it had: NATS has started it afresh
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s, offset %d, after message %d: %s", d.File, d.Offset, d.After, d.What)
}
