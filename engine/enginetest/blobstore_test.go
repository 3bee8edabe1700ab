package enginetest_test

import (
	"path/filepath"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/engine/enginetest"
	"tcp-log-server/segment"
)

func TestMemory(t *testing.T) {
	enginetest.BlobStore(t, func(*testing.T) engine.BlobStore { return new(enginetest.Blobs) })
}

func TestDirectory(t *testing.T) {
	enginetest.BlobStore(t, func(t *testing.T) engine.BlobStore {
		b, err := segment.OpenBlobs(filepath.Join(t.TempDir(), "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	})
}
