// Package pieces appends long texts in pieces. Go's scheduler cannot interrupt a copy, and a copy
// of many megabytes into memory that the kernel has yet to provide can take a hundred milliseconds.
// A garbage collection that begins in the meantime waits for it, and other goroutines wait for the
// collection.
package pieces

// size is the length of a piece in bytes.
const size = 64 << 10

// Append is append(dst, text...). When it allocates, at most about a quarter is in excess.
func Append(dst, text []byte) []byte {
	n := len(dst) + len(text)
	if len(text) <= size && n <= cap(dst) || n <= size {
		return append(dst, text...)
	}
	if n > cap(dst) {
		dst = fill(make([]byte, 0, max(n, cap(dst)+cap(dst)/4)), dst)
	}
	return fill(dst, text)
}

// fill appends text to dst, which has room for it.
func fill(dst, text []byte) []byte {
	for len(text) > 0 {
		piece := text[:min(size, len(text))]
		dst = append(dst, piece...)
		text = text[len(piece):]
	}
	return dst
}
