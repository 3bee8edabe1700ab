// What somebody writes who wants to go somewhere.

import {read} from "./api.js";

const UNITS = {s: 1e3, m: 6e4, h: 36e5, d: 864e5}; // ms

// timeOf is a time in ISO, null if text is none. One of the protocol keeps its microseconds.
export function timeOf(text) {
	if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(text)) return text;
	const ago = /^(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)\w*(?:\s+ago)?$/i.exec(text);
	let at = new Date(NaN);
	if (ago) at = new Date(Date.now() - ago[1] * UNITS[ago[2][0].toLowerCase()]);
	else if (/^\d\d?:\d\d(:\d\d)?$/.test(text)) at = new Date(new Date().setHours(...`${text}:0`.split(":").slice(0, 3), 0));
	else if (/^\d{4}-\d\d?-\d\d?/.test(text)) at = new Date(text.length < 11 ? `${text} 00:00` : text);
	return isNaN(at) ? null : at.toISOString();
}

// firstSince is an index, 0 if there is none.
export async function firstSince(time) {
	for await (const lines of read({since: time, read: 1})) {
		for (const line of lines) {
			if (line.startsWith('{"index":')) return JSON.parse(line.replace(/,"entry":.*/, "}")).index;
		}
	}
	return 0;
}

// destination is an index, 0 for the end or null for nowhere, and what to tell.
export async function destination(text, head) {
	if (/^[\d,]+$/.test(text)) {
		const index = Number(text.replaceAll(",", "")), nearest = Math.max(1, Math.min(head, index));
		return [head ? nearest : null, index === nearest && head ? "" : `There is no entry ${index}: the log has 1 to ${head}.`];
	}
	const time = timeOf(text);
	if (!time) return [null, `“${text}” is neither an index nor a time, such as 1234, 2026-11-28 09:00, 09:00 or 10 min ago.`];
	try {
		const index = await firstSince(time);
		return [index, index ? "" : "Nothing was stored at that time or later."];
	} catch (error) {
		return [null, error.message];
	}
}
