package lookup

import "runtime"

// memory is bytes beside the heap, which the garbage collector does not count: what lives as
// long as filters do would make it leave several times as much garbage. They are given back
// when nothing refers to the memory any more.
type memory struct{ bytes []byte }

// newMemory returns n bytes; where the system has none beside the heap, they are in it.
func newMemory(n int) *memory {
	b, err := mapMemory(n)
	if err != nil {
		return &memory{make([]byte, n)}
	}
	m := &memory{b}
	runtime.AddCleanup(m, unmapMemory, b)
	return m
}
