// BLAKE3, so that the page verifies an entry by itself. From the paper: J. O'Connor, J.-P. Aumasson, S. Neves,
// Z. Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere", section 2; without keys, 32 bytes of output.

const IV = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);

const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;
const BLOCK = 64, CHUNK = 1024;

// SCHEDULE[16*r + i] is the word of a block that round r uses i-th.
const SCHEDULE = new Uint8Array(7 * 16), PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
for (let i = 0; i < SCHEDULE.length; i++) SCHEDULE[i] = i < 16 ? i : SCHEDULE[i - i % 16 - 16 + PERMUTATION[i % 16]];

const v = new Int32Array(16); // the state of a compression

// mix, the quarter-round, mixes two words of the block m, at s of the schedule, into the state.
function mix(a, b, c, d, m, at, s) {
	let va = v[a], vb = v[b], vc = v[c], vd = v[d];
	va = (va + vb + m[at + SCHEDULE[s]]) | 0;
	vd ^= va; vd = (vd >>> 16) | (vd << 16);
	vc = (vc + vd) | 0;
	vb ^= vc; vb = (vb >>> 12) | (vb << 20);
	va = (va + vb + m[at + SCHEDULE[s + 1]]) | 0;
	vd ^= va; vd = (vd >>> 8) | (vd << 24);
	vc = (vc + vd) | 0;
	vb ^= vc; vb = (vb >>> 7) | (vb << 25);
	v[a] = va; v[b] = vb; v[c] = vc; v[d] = vd;
}

// compress replaces cv by the chaining value after the block at m[at].
function compress(cv, m, at, counter, length, flags) {
	v.set(cv);
	v.set(IV.subarray(0, 4), 8);
	v[12] = counter;
	v[13] = counter / 2 ** 32;
	v[14] = length;
	v[15] = flags;
	for (let s = 0; s < SCHEDULE.length; s += 16) {
		mix(0, 4, 8, 12, m, at, s);
		mix(1, 5, 9, 13, m, at, s + 2);
		mix(2, 6, 10, 14, m, at, s + 4);
		mix(3, 7, 11, 15, m, at, s + 6);
		mix(0, 5, 10, 15, m, at, s + 8);
		mix(1, 6, 11, 12, m, at, s + 10);
		mix(2, 7, 8, 13, m, at, s + 12);
		mix(3, 4, 9, 14, m, at, s + 14);
	}
	for (let i = 0; i < 8; i++) cv[i] = v[i] ^ v[i + 8];
}

const words = new Int32Array(CHUNK / 4); // of the chunk being hashed
const view = new DataView(words.buffer), octets = new Uint8Array(words.buffer);

// hash returns the chaining value of bytes from begin to end: of a chunk, or of two subtrees, the left one the
// largest power of two of chunks that leaves a right one.
function hash(bytes, begin, end, flags) {
	const length = end - begin, cv = IV.slice();
	if (length > CHUNK) {
		let left = CHUNK;
		while (2 * left < length) left *= 2;
		const pair = Int32Array.of(...hash(bytes, begin, begin + left, 0), ...hash(bytes, begin + left, end, 0));
		compress(cv, pair, 0, 0, BLOCK, PARENT | flags);
		return cv;
	}
	octets.fill(0, length);
	octets.set(bytes.subarray(begin, end));
	for (let i = 0; i < words.length; i++) words[i] = view.getInt32(4 * i, true); // for big-endian machines
	let at = 0, start = CHUNK_START;
	for (; at + BLOCK < length; at += BLOCK, start = 0) compress(cv, words, at / 4, begin / CHUNK, BLOCK, start);
	compress(cv, words, at / 4, begin / CHUNK, length - at, start | CHUNK_END | flags);
	return cv;
}

export function blake3(bytes) {
	hash(bytes, 0, bytes.length, ROOT).forEach((word, i) => view.setInt32(4 * i, word, true));
	return Array.from(octets.subarray(0, 32), byte => byte.toString(16).padStart(2, "0")).join("");
}
