// Entries by their index: as many as are looked at, fetched when they are wanted.

import {entryOf, read} from "./api.js";

const PAGE = 64, PAGES = 160; // entries a page, and pages that are kept
const KEPT = 4000;            // characters of an entry; the entry panel fetches the whole one
const SHORT = 500;            // characters of an entry whose length the list does not show
const NEAR = 12, AHEAD = 64;  // rows out of sight that must be there, and that are fetched too
const APART = 80;             // ms between requests, so that fast scrolling does not make one a frame
const RETRY = 1000;           // ms

const encoder = new TextEncoder();

// brief is an entry as it is kept: cut, with its whole length and, if it is cut, its columns.
export function brief(entry, cells) {
	if (entry.error) return entry;
	const {index, time, text} = entry;
	const length = text.length <= SHORT ? text.length : encoder.encode(text).length;
	if (text.length <= KEPT) return {index, time, text, length};
	// A part of a string keeps the whole in memory: this makes a new one.
	return {index, time, text: (" " + text.slice(0, KEPT)).slice(1), length, cells: cells(text)};
}

export function cache({head, cells, onChange}) {
	const pages = new Map(); // by number, the least recently used first
	const requests = new Set(); // {from, to, abort}
	let wanted = null, timer = 0, asked = -Infinity;

	const get = index => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

	function put(entry) {
		const number = Math.floor(entry.index / PAGE);
		let page = pages.get(number);
		if (!page) {
			page = [];
			pages.set(number, page);
			if (pages.size > PAGES) pages.delete(pages.keys().next().value);
		}
		page[entry.index % PAGE] ??= brief(entry, cells);
	}

	// need says what is in sight: requests for the rest are given up.
	function need(first, last) {
		wanted = {first, last};
		for (let n = Math.floor(first / PAGE); n <= Math.floor(last / PAGE); n++) {
			const page = pages.get(n);
			if (!page) continue;
			pages.delete(n);
			pages.set(n, page);
		}
		for (const r of requests) {
			if (r.to < first || r.from > last) r.abort();
		}
		if (!timer && missing(NEAR)) ask(Math.max(0, asked + APART - performance.now()));
	}

	// missing is the range that is neither here nor on its way.
	function missing(around) {
		let from = 0, to = 0;
		const end = Math.min(head(), wanted.last + around);
		for (let i = Math.max(1, wanted.first - around); i <= end; i++) {
			if (get(i) || [...requests].some(r => r.from <= i && i <= r.to)) continue;
			from ||= i;
			to = i;
		}
		return from && {from, to};
	}

	function ask(after) {
		timer = setTimeout(async () => {
			timer = 0;
			const range = missing(NEAR) && missing(AHEAD);
			if (!range) return;
			asked = performance.now();
			const controller = new AbortController(), r = {...range, abort: () => { requests.delete(r); controller.abort(); }};
			requests.add(r);
			let failed = false;
			try {
				for await (const lines of read({from: r.from, read: r.to - r.from + 1, time: true}, controller.signal)) {
					lines.map(entryOf).forEach(entry => entry && put(entry));
					onChange();
				}
			} catch {
				failed = !controller.signal.aborted; // the stream says what is wrong
			}
			requests.delete(r);
			if (wanted && !timer && missing(NEAR)) ask(failed ? RETRY : 0);
		}, after);
	}

	function clear() {
		pages.clear();
		wanted = null;
		clearTimeout(timer);
		timer = 0;
		for (const r of requests) r.abort();
	}
	return {get, put, need, clear};
}
