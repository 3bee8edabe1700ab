package page

import (
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestPicture makes the picture of the README, if PAGE_PICTURE names its file: `make page-picture`.
func TestPicture(t *testing.T) {
	name := os.Getenv("PAGE_PICTURE")
	if name == "" {
		t.Skip("PAGE_PICTURE names no file")
	}
	s := start(t, "DATA="+made(t, deployments(time.Now())))
	head := s.head()
	p := open(t, s, "/")
	p.sees(head)
	p.picture("picture")
}

// deployments is the morning and afternoon of an invented company, up to now.
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
			// More in the middle of the day than at its ends.
			hours := 9 - end.Sub(at).Hours()
			busy := 0.2 + hours*(10-hours)/25
			at = at.Add(time.Duration(random.ExpFloat64() / busy * 4e9))
		}
	}
}
