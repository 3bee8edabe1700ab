package engine

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const formatDoc = "../docs/FORMAT.md"

// fenced returns the document's code blocks of a kind that have an argument, in order: first the
// argument, then the lines.
func fenced(t *testing.T, kind string) [][2]string {
	t.Helper()
	doc, err := os.ReadFile(formatDoc)
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][2]string
	for _, part := range strings.Split(string(doc), "\n```"+kind)[1:] {
		argument, rest, _ := strings.Cut(part, "\n")
		lines, _, closed := strings.Cut(rest, "\n```\n")
		if !closed {
			t.Fatalf("%s: a block of %s has no end", formatDoc, kind)
		}
		blocks = append(blocks, [2]string{strings.TrimSpace(argument), lines})
	}
	return blocks
}

// TestFormatHexdumps compares the hexdumps in the document with the golden store: their content,
// and that they show all of the segment and the blob.
func TestFormatHexdumps(t *testing.T) {
	t.Parallel()
	dir := unpackGolden(t)
	shown := make(map[string]int)
	for _, block := range fenced(t, "hexdump") {
		name := block[0]
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(block[1]) {
			offset, bytesOf, found := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
			bytesOf, text, bar := strings.Cut(bytesOf, "  |")
			at, err := strconv.ParseUint(offset, 16, 32)
			raw, err2 := hex.DecodeString(strings.ReplaceAll(bytesOf, " ", ""))
			if !found || !bar || err != nil || err2 != nil || int(at)+len(raw) > len(file) {
				t.Fatalf("%s: line %q is not one of a hexdump: %v, %v", name, line, err, err2)
			}
			want := file[at : int(at)+len(raw)]
			if !bytes.Equal(raw, want) {
				t.Errorf("%s: at %#x the document has\n% x\nthe file\n% x", name, at, raw, want)
			}
			if got := printable(want) + "|"; text != got {
				t.Errorf("%s: at %#x the document has the text %q, the file %q", name, at, text, got)
			}
			shown[filepath.Dir(name)] += len(raw)
		}
		if kind := filepath.Dir(name); kind != "wal" && shown[kind] > len(file) {
			t.Errorf("%s: %d bytes are shown of %d", name, shown[kind], len(file))
		}
	}
	if shown["segments"] != 0x11c || shown["wal"] != 4*49 || shown["blobs/ae"] != 13 {
		t.Errorf("shown are %v bytes, want all of a segment and a blob, and four records", shown)
	}
}

func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(latin1(b)))
}

// latin1 makes each byte one rune.
func latin1(b []byte) []rune {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return runes
}

// TestFormatReader runs the reader in the document on the golden store, as it is and with what a
// crash may leave after its last batch.
func TestFormatReader(t *testing.T) {
	// Not in parallel: until a newly started process has become another program, it holds the
	// locks of all logs that are open here, and a test that reopens one finds it locked.
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to run the reader of docs/FORMAT.md with")
	}
	blocks := fenced(t, "python")
	if len(blocks) != 1 {
		t.Fatalf("%s has %d readers, want 1", formatDoc, len(blocks))
	}
	want, err := os.ReadFile(goldenEntries)
	if err != nil {
		t.Fatal(err)
	}
	dir := unpackGolden(t)
	last := filepath.Join(dir, "segments", "00000000000000000011.seg")
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	for _, behind := range [][]byte{nil, make([]byte, 5000), []byte("BTCH and what belongs to a header, but not all of what follows it")} {
		if err := os.WriteFile(last, append(bytes.Clone(whole), behind...), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "-c", blocks[0][1], dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		cmd.Env = append(os.Environ(), "PYTHONIOENCODING=utf-8")
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the reader prints\n%s%s(%v), want\n%s", got, stderr.String(), err, want)
		}
	}
}
