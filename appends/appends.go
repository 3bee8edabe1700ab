// Package appends has the values that package server exchanges with an implementation of its interface
// Log: the condition and the result of an append, and what copies of a log compare.
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
	// Expect: the entries are stored only if the head is Condition.Head in their turn, so that the first
	// gets the next index. Otherwise the error is a ConditionError.
	Expect
	// Once: each entry is stored only if the log does not hold an equal one, with the same canonical
	// bytes. Result.Once tells which are new. The log's AwaitOnce must have returned nil before.
	Once
)

// Result is the result of an append without an error.
type Result struct {
	// First is the index of the first entry that was stored; the others follow. If none was, it is the
	// index that one would have had.
	First uint64
	// Time is when the entries were stored, in µs since 1970 UTC, if any were.
	Time int64
	// Once has the place of each entry of an append with Once, in order.
	Once []Place
}

// Place is the position of an entry in the log.
type Place struct {
	Index uint64
	// Seen says that the log already held the entry.
	Seen bool
	// Time is when it was stored, in µs since 1970 UTC.
	Time int64
}

// ConditionError refuses an append with Expect: nothing was stored, and sending it again does not help.
type ConditionError struct {
	Head uint64 // the head when its turn came
	Want uint64
}

func (e *ConditionError) Error() string {
	return fmt.Sprintf("not stored: the head is %d, not %d", e.Head, e.Want)
}
