package page

import "testing"

// TestMarkOfLast: the mark of an entry is at the right end of the bar of its microsecond, although
// in a double some microseconds are a quarter longer than others.
func TestMarkOfLast(t *testing.T) {
	p := part(t, "histogram.js", `({histogram}, element) => {
		element.style.width = "1000px";
		for (let i = 0; i < 100; i++) {
			const micro = n => "2026-01-02T03:04:05." + String(123400 + n).padStart(6, "0") + "Z";
			const one = document.createElement("div");
			element.append(one);
			histogram(one, {fetchCounts: async () => ({counts: [...Array(9).fill(0), 1], first: 1, since: micro(i), until: micro(i + 1)})}).mark(micro(i));
		}
	}`)
	p.await("the marks", `$("#part").querySelectorAll('.mark[d^="M"]').length === 100`)
	if wrong := eval[int](p, `[...$("#part").children].filter(one => Math.abs(
		one.querySelector(".mark").getBoundingClientRect().left - one.querySelector(".bars").getBoundingClientRect().right) > 3).length`); wrong > 0 {
		t.Errorf("%d of 100 marks are not at the end of the last bar", wrong)
	}
}

// TestHistogramAgain: the page retries by itself if it could not fetch a histogram.
func TestHistogramAgain(t *testing.T) {
	p := part(t, "histogram.js", `({histogram}, element) => {
		element.style.width = "1000px";
		const answer = {counts: [1, 2], first: 1, since: "2026-01-02T03:04:05Z", until: "2026-01-02T03:04:06Z"};
		let asked = 0;
		histogram(element, {fetchCounts: async () => {
			if (asked++ === 0) throw new Error("busy");
			return answer;
		}});
	}`)
	p.await("the error", `$("#part").textContent.includes("no histogram: busy")`)
	p.await("the bars", `!$("#part").classList.contains("failed") && $("#part .bars").getAttribute("d")`)
}
