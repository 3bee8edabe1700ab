package web_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zeebo/blake3"
)

// TestModules runs the tests of the page's modules that need no browser: test/page/unit/*.test.mjs.
// `node --test test/page/unit/*.test.mjs` runs them too, except for the comparison with the
// server's BLAKE3.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: the page's modules are not tested")
	}
	files, err := filepath.Glob("../test/page/unit/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no tests: %v, %v", files, err)
	}
	cmd := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-reporter=spec"}, files...)...)
	cmd.Env = append(os.Environ(), "BLAKE3_VECTORS="+blake3Vectors(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}

// blake3Vectors writes texts and their hashes to a file for test/page/unit/blake3.test.mjs, with
// sizes around the beginnings of blocks, chunks and subtrees, and others.
func blake3Vectors(t *testing.T) string {
	random := rand.New(rand.NewChaCha8([32]byte{}))
	sizes := []int{0, 1, 31744, 102400, 1<<20 + 1}
	for size := 64; size <= 64<<10; size *= 2 {
		sizes = append(sizes, size-1, size, size+1)
	}
	for chunks := 1; chunks <= 17; chunks++ {
		sizes = append(sizes, chunks*1024-63, chunks*1024, chunks*1024+65)
	}
	for range 50 {
		sizes = append(sizes, random.IntN(100_000))
	}
	var lines bytes.Buffer
	for _, size := range sizes {
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		hash := blake3.Sum256(text)
		fmt.Fprintf(&lines, `{"bytes":"%s","hash":"%s"}`+"\n", base64.StdEncoding.EncodeToString(text), hex.EncodeToString(hash[:]))
	}
	name := filepath.Join(t.TempDir(), "vectors")
	if err := os.WriteFile(name, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
