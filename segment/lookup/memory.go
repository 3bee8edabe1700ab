package lookup

import "runtime"

// memory is bytes outside the heap, which the garbage collector does not count: with memory
// as long-lived as filters it would let several times as much garbage pile up. It is
// released when nothing refers to it any more.
type memory struct{ bytes []byte }

// newMemory returns n bytes, in the heap if the system has none outside it.
func newMemory(n int) *memory {
	b, err := mapMemory(n)
	if err != nil {
		return &memory{make([]byte, n)}
	}
	m := &memory{b}
	runtime.AddCleanup(m, unmapMemory, b)
	return m
}
