// Package appends has the values that package server and an implementation of its interface Log
// exchange: what an append is given and what it gives back, and what copies of a log compare.
package appends

import "fmt"

// Condition says when an append is stored. The zero Condition is Always.
type Condition struct {
	Kind Kind
	Head uint64 // with Expect
}

// Kind is a kind of condition.
type Kind uint8

const (
	// Always: the entries are stored.
	Always Kind = iota
	// Expect: the entries are stored only if the head is Condition.Head when their turn
	// comes, so that the first gets the index after it. Otherwise the error is a
	// ConditionError.
	Expect
	// Once: each entry is stored only if the log does not hold an equal one, of the same
	// canonical bytes. Result.Once tells which are new. AwaitOnce of the log must have
	// returned nil before.
	Once
)

// Result is what has become of an append without an error.
type Result struct {
	// First is the index of the first entry that was stored, and those after it follow; if
	// there is none, it is the index that one would have had.
	First uint64
	// Time is when the entries were stored, in µs since 1970 UTC, if any were.
	Time int64
	// Once has the place of each entry of an append with Once, in their order.
	Once []Place
}

// Place is where an entry lies.
type Place struct {
	Index uint64
	// Seen says that the log held the entry before.
	Seen bool
	// Time is when it was stored, in µs since 1970 UTC.
	Time int64
}

// ConditionError refuses an append with Expect: nothing was stored, and sending it again
// does not help.
type ConditionError struct {
	Head uint64 // the head when its turn came
	Want uint64
}

func (e *ConditionError) Error() string {
	return fmt.Sprintf("not stored: the head is %d, not %d", e.Head, e.Want)
}
