// What a row of the list shows.

import {bytes, make, visible} from "./text.js";

const SHOWN = 500; // characters of an entry
const TOKEN = /("(?:[^"\\]|\\.)*(?:"|$))(:?)|(-?\d[\d.eE+-]*|true|false|null)|(,)/g;

const digits = (n, most = 2) => String(n).padStart(most, "0");
const year = new Date().getFullYear();

// clock is the day and the time of day, local.
export function clock(time) {
	if (!time) return ["", "–"];
	const d = new Date(time);
	const day = `${digits(d.getMonth() + 1)}-${digits(d.getDate())}`, minute = `${digits(d.getHours())}:${digits(d.getMinutes())}`;
	if (d.getFullYear() !== year) return [`${d.getFullYear()}-${day}`, minute];
	return [day, `${minute}:${digits(d.getSeconds())}.${digits(d.getMilliseconds(), 3)}`];
}

// Each string is an element of its own, so that one written from right to left does not move what follows.
export function highlight(element, text) {
	let at = 0;
	for (const found of text.matchAll(TOKEN)) {
		const [all, string, colon, scalar] = found;
		if (found.index > at) element.append(text.slice(at, found.index));
		element.append(make("span", string ? colon ? "k" : "s" : scalar ? "n" : "c", all));
		at = found.index + all.length;
	}
	if (at < text.length) element.append(text.slice(at));
}

export function fillRow(row, entry, index, columns) {
	const time = make("span", "time"), text = make("span", "text");
	row.className = "row";
	row.replaceChildren(make("span", "index", index), time, text);
	if (!entry) row.classList.add("absent");
	else if (entry.error) {
		row.classList.add("damaged");
		text.append(`damaged: ${visible(entry.error)}`);
	} else {
		const [day, minute] = clock(entry.time);
		time.append(make("span", "day", day), minute);
		if (columns) {
			text.replaceWith(...(entry.cells ?? columns.cells(entry.text)).map(cell => make("span", "cell", cell)));
			return;
		}
		highlight(text, visible(entry.text.slice(0, SHOWN)));
		if (entry.text.length <= SHOWN) return;
		text.append("…");
		row.append(make("span", "size", bytes(entry.length)));
	}
}
