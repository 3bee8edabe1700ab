// A list of any length, of which only the rows in sight are in the document.

import {make} from "./text.js";

const MAX = 8_000_000; // px; browsers do not make elements much higher

// entry is undefined for fill while it is not here; onScroll(atEnd) is told of the user's scrolling only.
export function list(element, {fill, onOpen, onScroll}) {
	const ROW = parseInt(getComputedStyle(element).getPropertyValue("--row"), 10);
	const pane = make("div", {className: "pane", role: "presentation"}), sizer = make("div", {className: "sizer", role: "presentation"}, pane);
	element.append(sizer);

	let source = {count: 0, get() {}, index: p => p, need() {}};
	let top = 0;             // the position at the upper edge, with a fraction
	let follow = false;
	let cursor = -1;         // the position that the keys are at
	let height = 0, expected = 0, queued = 0;
	let touching = 0;        // a timer, while a finger or its push moves the list
	const rows = new Map();  // by position
	const free = [];

	const fits = () => height / ROW;
	const last = () => Math.max(0, source.count - fits());
	const scaled = () => source.count * ROW > MAX;
	const room = () => Math.max(1, Math.min(source.count * ROW, MAX) - height);
	const toScroll = t => scaled() ? t / last() * room() : t * ROW;
	const fromScroll = y => scaled() ? y / room() * last() : y / ROW;
	const clamp = t => Math.max(0, Math.min(last(), t));

	function schedule() { queued ||= requestAnimationFrame(draw); }

	function draw() {
		queued = 0;
		if (!height) return;
		top = follow ? last() : clamp(top);
		sizer.style.height = `${Math.min(source.count * ROW, MAX)}px`;
		if (!touching && Math.abs(element.scrollTop - toScroll(top)) >= 1) element.scrollTop = toScroll(top);
		expected = element.scrollTop;
		const first = Math.floor(top), end = Math.min(source.count, Math.ceil(top + fits()));
		for (const [position, row] of rows) {
			if (position >= first && position < end) continue;
			rows.delete(position);
			row.remove();
			free.push(row);
		}
		for (let p = end - 1; p >= first; p--) {
			let row = rows.get(p);
			if (!row) {
				row = free.pop() ?? make("div", {role: "option"});
				row.entry = null;
				rows.set(p, row);
				pane.insertBefore(row, rows.get(p + 1) ?? null); // in order, for those who hear it
			}
			const entry = source.get(p);
			if (row.entry !== entry) {
				row.entry = entry;
				row.dataset.index = source.index(p);
				row.id = `row-${source.index(p)}`;
				[row.ariaSetSize, row.ariaPosInSet] = [source.count, p + 1];
				fill(row, entry, source.index(p));
			}
			row.classList.toggle("here", p === cursor);
			row.ariaSelected = p === cursor;
			row.style.transform = `translateY(${Math.round((p - top) * ROW)}px)`;
		}
		element.setAttribute("aria-activedescendant", rows.get(cursor)?.id ?? "");
		free.length = Math.min(free.length, 100);
		if (end > first) source.need(first, end - 1);
	}

	function moveTo(t, byUser = true) {
		top = clamp(t);
		if (byUser) onScroll(top >= last() - 0.5);
		schedule();
	}

	element.addEventListener("scroll", () => {
		const y = element.scrollTop, by = y - expected;
		if (Math.abs(by) < 1) return;
		expected = y;
		if (by < 0 && y >= element.scrollHeight - element.clientHeight - 1) { // the end came up, nobody has scrolled
			schedule();
			return;
		}
		if (touching) touched();
		// A pixel may stand for many rows: a finger moves by what it sees, the bar goes to its place.
		moveTo(touching && scaled() && Math.abs(by) < 2 * height ? top + by / ROW : fromScroll(y));
	});
	element.addEventListener("wheel", event => {
		if (event.ctrlKey || !event.deltaY || event.shiftKey) return;
		if (!scaled()) {
			if (event.deltaY < 0 && top > 0) onScroll(false);
			return;
		}
		event.preventDefault();
		moveTo(top + event.deltaY * [1 / ROW, 3, fits()][event.deltaMode]);
	}, {passive: false});
	function touched() {
		clearTimeout(touching);
		touching = setTimeout(() => {
			touching = 0;
			schedule(); // puts the bar where it belongs
		}, 250);
	}
	for (const type of ["touchstart", "touchmove"]) element.addEventListener(type, touched, {passive: true});

	pane.addEventListener("click", event => {
		const row = event.target.closest("[data-index]");
		if (row && !String(getSelection())) onOpen(row.ariaPosInSet - 1); // selecting text is no click
	});
	new ResizeObserver(() => {
		height = element.clientHeight;
		schedule();
	}).observe(element);

	function refill() {
		for (const row of rows.values()) row.entry = null;
		schedule();
	}

	return {
		schedule,
		refill,
		show(next) {
			source = next;
			[cursor, top] = [-1, 0];
			refill();
		},
		get follow() { return follow; },
		set follow(on) {
			follow = on;
			schedule();
		},
		get cursor() { return cursor; },
		// What is out of sight comes to the middle.
		select(position) {
			cursor = position;
			height ||= element.clientHeight;
			if (position >= 0 && (position < top || position + 1 > top + fits())) top = clamp(position - Math.floor(fits() / 2) + 1);
			schedule();
		},
		// With no cursor, move begins with a row in sight.
		move(by) {
			const end = Math.min(source.count, Math.floor(top + fits()));
			cursor = cursor >= 0 ? cursor + by : by > 0 ? Math.ceil(top) : end - 1;
			cursor = Math.max(0, Math.min(source.count - 1, cursor));
			if (cursor < top) moveTo(cursor);
			else if (cursor + 1 > top + fits()) moveTo(cursor + 1 - fits());
			schedule();
			return cursor;
		},
		page(by) { this.edge(top + by * (fits() - 1)); },
		// The keys go on from what is in sight.
		edge(position) {
			cursor = -1;
			moveTo(position);
		},
	};
}
