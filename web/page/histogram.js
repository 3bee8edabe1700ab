// How many entries were stored when: bars over time, of which a span can be selected.

import {count, draw, make} from "./text.js";
import {instant, iso, spanText, ticks} from "./time.js";

const HEIGHT = 56, AXIS = 18, BAR = 7; // px; a bar with its gap, about
const APART = 3000; // ms between two refreshes
const SHORTEST = 1; // ms that can be zoomed into

// histogram fills element. fetchCounts(since, until, buckets) has the answer of GET /histogram; null and null
// are the whole log. onSelect(since, until, first) is told of a selection, first the index of its first entry;
// onClear of its end. Times are ISO. refresh asks again when it may, mark(null) shows no time.
export function histogram(element, {fetchCounts, onSelect, onClear}) {
	const [into, out, clear] = [
		["zoom in", "show only the selected time (Enter)", zoom],
		["zoom out", "show what was shown before (Esc)", back],
		["clear", "select nothing (Esc)", unselect],
	].map(([text, title, onclick]) => make("button", {type: "button", title, onclick, hidden: true}, text));
	const says = make("span", "says"), axis = draw("g", {class: "axis"}), paths = {};
	for (const name of ["span", "cursor", "bars", "picked", "base", "mark"]) paths[name] = draw("path", {class: name});
	const svg = draw("svg", {"aria-hidden": "true"}, ...Object.values(paths), axis);
	// A slider, so that a screen reader says its place.
	const plot = make("div", {className: "plot", tabIndex: 0, role: "slider", ariaValueMin: 0}, svg);
	element.classList.add("histogram");
	element.replaceChildren(make("div", "head", says, make("span", "buttons", into, out, clear)), plot);

	let width = 0, data = null, marked = null; // data.size is ms a bucket
	let shown = null, selected = null, outer = []; // [since, until]; outer is what was shown before
	let cursor = null, anchor = null; // buckets: where keys or pointer are, where a selection not yet told began
	let question = null, asked = -Infinity, wanted = false, timer = 0;

	function refresh() {
		wanted = true;
		next();
	}
	// An answer to an older question is dropped.
	async function load() {
		if (!width) return;
		const own = question = {};
		wanted = false;
		asked = performance.now();
		try {
			const buckets = Math.max(10, Math.min(300, Math.floor(width / BAR))), span = shown?.map(iso) ?? [null, null];
			const {counts, first, ...times} = await fetchCounts(...span, buckets);
			if (own !== question) return;
			if (!times.since) {
				says.textContent = "no entries yet";
				return;
			}
			const since = instant(times.since), until = Math.max(instant(times.until), since + 0.001), sums = [0];
			for (const n of counts) sums.push(sums.at(-1) + n);
			data = {since, until, size: (until - since) / counts.length, counts, sums, first};
			if (cursor >= counts.length) cursor = null;
			element.classList.remove("failed");
			render();
		} catch (error) {
			if (own !== question) return;
			element.classList.add("failed");
			says.textContent = `no histogram: ${error.message}`;
			wanted = true;
		} finally {
			if (own === question) {
				question = null;
				next();
			}
		}
	}
	function next() {
		clearTimeout(timer);
		if (!wanted || question || document.hidden) return;
		const wait = asked + APART - performance.now();
		if (wait > 0) timer = setTimeout(next, wait);
		else load();
	}
	document.addEventListener("visibilitychange", next);

	const clamp = (n, most) => Math.max(0, Math.min(most, n)), within = i => clamp(i, data.counts.length - 1);
	const x = time => Math.round((time - data.since) / (data.until - data.since) * width);
	const edge = i => i === data.counts.length ? data.until : data.since + i * data.size;
	// range is the visible part of the selection in buckets, [begin, end), or null.
	function range() {
		const [begin, end] = (selected ?? [0, 0]).map(t => clamp(Math.round((t - data.since) / data.size), data.counts.length));
		return begin < end ? [begin, end] : null;
	}

	function block(begin, end, height = HEIGHT, gap = 0) {
		const left = x(edge(begin)), right = Math.max(left + 1, x(edge(end)) - gap);
		return `M${left} ${HEIGHT}v${-height}H${right}v${height}Z`;
	}

	function render() {
		if (!data || !width) return;
		const {counts, sums, since, until, size} = data, all = range(), most = Math.max(...counts), gap = size / (until - since) * width > 4 ? 1 : 0;
		const bars = counts.map((n, i) => n ? block(i, i + 1, Math.max(2, Math.round(n / most * (HEIGHT - 4))), gap) : "");
		const shapes = {
			span: all ? block(...all) : "",
			cursor: cursor === null ? "" : block(cursor, cursor + 1),
			bars: bars.join(""),
			picked: all ? bars.slice(...all).join("") : "",
			base: `M0 ${HEIGHT + 0.5}H${width}`,
			// At the end of its microsecond, in doubles up to 1.22 µs long.
			mark: marked >= since && marked <= until ? `M${x(Math.min(until, marked + 0.0013)) + 0.5} 0V${HEIGHT}` : "",
		};
		for (const name in shapes) paths[name].setAttribute("d", shapes[name]);
		paths.bars.classList.toggle("rest", Boolean(all));
		svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT + AXIS}`);
		axis.replaceChildren(...ticks(since, until, width / 90).filter(t => x(t.time) < width - 8 * t.label.length).flatMap(({time, label}) =>
			[draw("path", {d: `M${x(time) + 0.5} ${HEIGHT}v5`}), draw("text", {x: x(time) + 4, y: HEIGHT + 14}, label)]));
		into.hidden = !all || all[1] - all[0] === counts.length || until - since <= SHORTEST;
		out.hidden = !outer.length;
		clear.hidden = !selected;

		const last = counts.length - 1, top = counts.indexOf(most), span = (begin, end) => spanText(edge(begin), edge(end), size);
		const told = (begin, end) => {
			const n = sums[end] - sums[begin];
			return `${span(begin, end)}  ·  ${count(n)} ${n === 1 ? "entry" : "entries"}`;
		};
		const total = told(0, last + 1);
		if (cursor !== null && anchor === null) says.textContent = told(cursor, cursor + 1);
		else says.textContent = all ? `${told(...all)} selected` : total;
		Object.assign(plot, {
			ariaValueMax: last, ariaValueNow: cursor ?? all?.[0] ?? last, ariaValueText: says.textContent,
			ariaLabel: `Entries over time: ${total}; most, ${count(most)}, in ${span(top, top + 1)}. ` +
				"Arrows move, with Shift they select, Enter selects and then zooms in, Escape goes back.",
		});
	}

	// With from, move selects all from there to where the cursor goes.
	function move(to, from = null) {
		cursor = to;
		if (from !== null) {
			anchor = from;
			selected = [edge(Math.min(from, to)), edge(Math.max(from, to) + 1)];
		}
		render();
	}
	function tell() {
		if (!selected) return;
		anchor = null;
		render();
		onSelect(...selected.map(iso), data.first + data.sums[range()[0]]);
	}
	function unselect() {
		if (!selected) return;
		selected = anchor = null;
		render();
		onClear();
	}
	function show(span) {
		shown = span;
		cursor = anchor = null;
		load();
	}
	function zoom() {
		if (into.hidden) return;
		outer.push(shown);
		show(selected);
	}
	function back() {
		if (outer.length) show(outer.pop());
	}

	const bucket = event => within(Math.floor((event.clientX - plot.getBoundingClientRect().left) / width * data.counts.length));
	const dragging = event => plot.hasPointerCapture(event.pointerId);
	Object.assign(plot, {
		onpointerdown(event) {
			if (!data || event.button) return;
			plot.setPointerCapture(event.pointerId);
			move(bucket(event), bucket(event));
		},
		onpointermove(event) {
			if (data) move(bucket(event), dragging(event) ? anchor : null);
		},
		onpointerup(event) {
			if (!dragging(event)) return;
			cursor = null; // so that the selection is described
			tell();
		},
		onpointerleave: () => move(null), onblur: () => move(null), onpointercancel: unselect, ondblclick: zoom,
		onkeydown(event) {
			if (!data || event.ctrlKey || event.altKey || event.metaKey) return;
			const {length} = data.counts, all = range(), from = cursor ?? all?.[0] ?? length;
			const to = {ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 10, PageDown: from + 10, Home: 0, End: length}[event.key];
			if (to !== undefined) {
				if (!event.shiftKey) anchor = null;
				move(within(to), event.shiftKey ? anchor ?? within(from) : null);
			} else if (event.key === "Enter") {
				if (cursor !== null && !(all?.[0] <= cursor && cursor < all[1])) move(cursor, cursor);
				if (anchor !== null) tell();
				else zoom();
			} else if (event.key === "Escape" && (selected || outer.length)) selected ? unselect() : back();
			else return;
			event.preventDefault();
			event.stopPropagation(); // the page has keys too
		},
	});

	new ResizeObserver(() => {
		if (width === plot.clientWidth) return;
		width = plot.clientWidth;
		render();
		refresh();
	}).observe(plot);

	function mark(time) {
		marked = time && instant(time);
		render();
	}
	return {refresh, clear: unselect, mark};
}
