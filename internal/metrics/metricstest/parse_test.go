package metricstest

import "testing"

func TestParse(t *testing.T) {
	const whole = "# HELP a_total What.\n# TYPE a_total counter\na_total{kind=\"x\",of=\"\\\"\\\\\\n\"} 1\na_total{kind=\"y\"} 2\n" +
		"# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 1e-05\nh_count 3\n" +
		"# HELP g What.\n# TYPE g gauge\ng -2.5\n"
	s, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if s.Samples[`a_total{kind="y"}`] != 2 || s.Samples["h_sum"] != 1e-05 || s.Samples["g"] != -2.5 || s.Types["h"] != "histogram" || len(s.Types) != 3 {
		t.Errorf("parsed as %+v", s)
	}
	const head = "# HELP g What.\n# TYPE g gauge\n"
	for what, text := range map[string]string{
		"no end":                 head + "g 1",
		"no help":                "# TYPE g gauge\ng 1\n",
		"no type":                "# HELP g What.\ng 1\n",
		"no samples":             head,
		"no samples, then other": head + "# HELP f What.\n# TYPE f gauge\nf 1\n",
		"no value":               head + "g\n",
		"NaN":                    head + "g NaN\n",
		"a number that is none":  head + "g 1x\n",
		"twice":                  head + "g 1\ng 1\n",
		"family twice":           head + "g 1\n" + head + "g{a=\"b\"} 1\n",
		"other family":           head + "f 1\n",
		"unknown type":           "# HELP g What.\n# TYPE g gorge\ng 1\n",
		"counter's name":         "# HELP g What.\n# TYPE g counter\ng 1\n",
		"gauge's name":           "# HELP g_total What.\n# TYPE g_total gauge\ng_total 1\n",
		"below 0":                "# HELP g_total What.\n# TYPE g_total counter\ng_total -1\n",
		"bare label":             head + "g{a=b} 1\n",
		"open label":             head + "g{a=\"b} 1\n",
		"empty line":             head + "g 1\n\n",
		"descending":             "# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n",
		"not cumulative":         "# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
		"no infinity":            "# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 1\nh_count 2\n",
		"count":                  "# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
		"no sum":                 "# HELP h What.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: taken: %q", what, text)
		}
	}
}
