package cluster

import "fmt"

// Damage is what is wrong with a replica, and where.
type Damage struct {
	File   string
	Offset int64
	After  uint64 // the sequence of the last message before it
	What   string
	Gone   bool // the store lost what it had: NATS has begun it again
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s, offset %d, after message %d: %s", d.File, d.Offset, d.After, d.What)
}
