package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exported returns the series that a fresh replica with an archive and a node of a cluster export: their names,
// and the values of each label, except the bounds of histograms.
func exported(t *testing.T) (names map[string]bool, labels map[string][]string) {
	t.Helper()
	text := allMetrics(t)
	names, labels = make(map[string]bool), make(map[string][]string)
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? [-+0-9.eINaf]+$`).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
		for _, label := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
			labels[label[1]] = append(labels[label[1]], label[2])
		}
	}
	if !names["tcp_log_server_head"] || !names["tcp_log_server_sync_seconds_bucket"] || len(names) < 40 {
		t.Fatalf("the server exports %v in\n%s", names, text)
	}
	return names, labels
}

// TestWatchingNames: every series that the alert rules and the dashboard query is
// exported, with the labels and values that they use.
func TestWatchingNames(t *testing.T) {
	names, labels := exported(t)
	names["up"] = true // of Prometheus itself
	for _, label := range []string{"instance", "job"} {
		labels[label] = nil // Prometheus gives each series these
	}
	for _, e := range expressions(t) {
		quoted := regexp.MustCompile(`"[^"]*"`)
		for _, m := range regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`).FindAllStringSubmatch(e.text, -1) {
			values, known := labels[m[1]]
			if !known || m[1] != "instance" && m[1] != "job" && !slices.Contains(values, m[3]) {
				t.Errorf("%s asks for %s, which no series has: %s", e.where, m[0], e.text)
			}
		}
		found := 0
		for _, name := range regexp.MustCompile(`\b(?:tcp_log_server|process|go)_\w+|\bup\b`).FindAllString(quoted.ReplaceAllString(e.text, `""`), -1) {
			if found++; !names[name] {
				t.Errorf("%s asks for %s, which the server does not export: %s", e.where, name, e.text)
			}
		}
		if found == 0 {
			t.Errorf("%s asks for nothing that this test knows: %s", e.where, e.text)
		}
		for _, m := range regexp.MustCompile(`\{\{\s*\$?(?:labels\.)?(\w+)\s*\}\}`).FindAllStringSubmatch(e.legend, -1) {
			if _, known := labels[m[1]]; !known {
				t.Errorf("%s shows the label %s, which no series has", e.where, m[1])
			}
		}
	}
}

// expression is an expression of these files, with the legend of its values.
type expression struct{ where, text, legend string }

// expressions are those of the alert rules and of the dashboard.
func expressions(t *testing.T) []expression {
	t.Helper()
	b, err := os.ReadFile(root + "packaging/watching/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var list []expression
	for _, rule := range strings.Split(string(b), "      - alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		m := regexp.MustCompile(`(?m)^        expr: (.+)$`).FindStringSubmatch(rest)
		if m == nil {
			t.Fatalf("alert %s has no expression of one line", name)
		}
		list = append(list, expression{"alert " + name, m[1], regexp.MustCompile(`\{\{ \$labels[^}]*\}\}`).FindString(rest)})
	}
	rules := len(list)
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			list = append(list, expression{"panel " + p.Title, target.Expr, target.Legend})
		}
	}
	if rules < 5 || len(list)-rules < 15 {
		t.Fatalf("there are %d rules and %d expressions of panels", rules, len(list)-rules)
	}
	return list
}

// panel is the part of a dashboard's panel that the tests use.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		Expr   string
		Legend string `json:"legendFormat"`
	}
}

func dashboard(t *testing.T) (d struct{ Panels []panel }) {
	t.Helper()
	b, err := os.ReadFile(root + "packaging/watching/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard: each panel has its own number and place, and at least one
// query.
func TestDashboard(t *testing.T) {
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("panel %s has the number %d of another", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s asks for nothing", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %s is over panel %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestWatchingSyntax has Prometheus parse the rules, and the dashboard's
// expressions as rules.
func TestWatchingSyntax(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool here")
	}
	rules := []string{"groups:", "  - name: dashboard", "    rules:"}
	for i, e := range expressions(t) {
		text := strings.NewReplacer("$__rate_interval", "5m", "$job", "x", "$instance", "x").Replace(e.text)
		rules = append(rules, fmt.Sprintf("      - {record: \"r%d\", expr: %q}", i, text))
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(strings.Join(rules, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{root + "packaging/watching/alerts.yml", path} {
		if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}
