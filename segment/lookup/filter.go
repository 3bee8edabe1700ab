package lookup

import (
	"encoding/binary"
	"math/bits"
)

// The filter of a table is a Bloom filter in blocks of 64 bytes, a line of the
// processor's cache: a prefix sets one bit in each of the 8 words of one block. With 12
// bits a row, about 1 in 200 prefixes that are not in the table look as if they were.
//
// The number of a prefix's block grows with the prefix. So the rows in order fill one
// block after the other, and a filter of any size is written with one page in memory.
const bitsPerKey = 12

// blockOf returns the number of prefix's block, of blocks in all.
func blockOf(prefix, blocks uint64) uint64 {
	hi, _ := bits.Mul64(prefix, blocks)
	return hi
}

// The prefixes in one block share their upper bits, so the bits in the block are chosen
// by a product that depends on all bits of the prefix.
func spread(prefix uint64) uint64 { return prefix * 0x9e3779b97f4a7c15 }

// setBits adds prefix to its block.
func setBits(block []byte, prefix uint64) {
	h := spread(prefix)
	for i := 0; i < blockSize; i += 8 {
		h = bits.RotateLeft64(h, 6)
		word := binary.LittleEndian.Uint64(block[i:])
		binary.LittleEndian.PutUint64(block[i:], word|1<<(h&63))
	}
}

// hasBits reports whether prefix may have been added to its block.
func hasBits(block []byte, prefix uint64) bool {
	h := spread(prefix)
	all := uint64(1)
	for i := 0; i < blockSize; i += 8 {
		h = bits.RotateLeft64(h, 6)
		all &= binary.LittleEndian.Uint64(block[i:]) >> (h & 63)
	}
	return all != 0
}
