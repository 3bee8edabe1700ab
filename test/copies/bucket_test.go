package copies

import (
	"fmt"
	"testing"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
)

// small makes Put send objects of a few MiB in parts.
var small = bucket.Options{PartSize: 5 << 20}

func open(t testing.TB, url string, o bucket.Options) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T) {
	url, _ := StartS3(t)
	n := 0
	buckettest.Run(t, 11<<20, func(t *testing.T) bucket.Bucket {
		n++
		return open(t, fmt.Sprintf("%s/%d", url, n), small)
	})
}
