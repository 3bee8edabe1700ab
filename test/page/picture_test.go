package page

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPicture makes the picture in the README if PAGE_PICTURE names its file: see `make page-picture`.
func TestPicture(t *testing.T) {
	name := os.Getenv("PAGE_PICTURE")
	if name == "" {
		t.Skip("PAGE_PICTURE names no file")
	}
	now := time.Now()
	s := start(t, "DATA="+made(t, deployments(now)))
	p := open(t, s, "/")
	p.size(1120, 640)
	p.sees(s.head())

	// Half a minute of further appends, so that the charts have something to show.
	c := s.client()
	var shown uint64
	random := rand.New(rand.NewPCG(1, 1))
	for _, b := range deployments(now) {
		if time.Since(now) > 40*time.Second {
			break
		}
		<-time.After(time.Duration(random.ExpFloat64() * 3e8))
		index, err := c.Append(t.Context(), bytes.TrimSpace(b.entries))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b.entries, []byte(`"order"`)) {
			shown = index
		}
	}
	p.do(navigate(s, shown))
	p.await("the entry", verified("yes"))
	p.sees(shown)
	p.picture("readme")
	b, err := os.ReadFile(filepath.Join(pictures, "readme.png"))
	if err == nil {
		b, err = smaller(b)
	}
	if err == nil {
		err = os.WriteFile(name, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d bytes", name, len(b))
	if len(b) > 150_000 {
		t.Errorf("%s has %d bytes, more than a README should have to load", name, len(b))
	}
}

// smaller reduces a picture to its 256 most frequent colours.
func smaller(picture []byte) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	bounds, count := img.Bounds(), make(map[color.Color]int)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			count[img.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	palette, nearest := color.Palette(colours[:min(256, len(colours))]), make(map[color.Color]uint8)
	out := image.NewPaletted(bounds, palette)
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := img.At(x, y)
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c))
				nearest[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out)
	return b.Bytes(), err
}

// deployments returns the morning and afternoon of an invented company, up to now.
func deployments(now time.Time) iter.Seq2[time.Time, batch] {
	return func(yield func(time.Time, batch) bool) {
		random := rand.New(rand.NewPCG(7, 7))
		services := []string{"checkout", "catalogue", "payments", "search", "mail", "stock"}
		people := []string{"ann", "bob", "eve", "joe", "mia"}
		at := now.Add(-9 * time.Hour).Truncate(time.Second)
		end := now.Add(-time.Minute)
		for n := 1; at.Before(end); n++ {
			service, who := services[random.IntN(len(services))], people[random.IntN(len(people))]
			version := fmt.Sprintf("%d.%d.%d", 2+len(service)%3, random.IntN(20), random.IntN(9))
			entry := map[string]any{"service": service}
			switch k := random.IntN(20); {
			case k == 0:
				entry["event"], entry["version"], entry["by"] = "deployed", version, who
				entry["took"] = float64(random.IntN(900)) / 10
			case k == 1:
				entry["event"], entry["error"], entry["retries"] = "failed", "connection to db-2 timed out", random.IntN(5)
			case k < 8:
				entry["event"], entry["order"] = "order", map[string]any{"id": fmt.Sprintf("o-%d", 48000+n), "items": 1 + random.IntN(6), "total": float64(random.IntN(20000)) / 100}
				entry["user"] = who
			default:
				entry["event"], entry["status"], entry["ms"], entry["path"] = "request", 200+4*random.IntN(2), random.IntN(400), fmt.Sprintf("/%s/%d", service, random.IntN(900))
			}
			b, _ := json.Marshal(entry)
			if !yield(at, batch{append(b, '\n'), 1}) {
				return
			}
			// More entries in the middle of the day than at its ends.
			hours := 9 - end.Sub(at).Hours()
			busy := 0.2 + hours*(10-hours)/25
			at = at.Add(time.Duration(random.ExpFloat64() / busy * 4e9))
		}
	}
}
