// How the page writes things. Everything is put in as text.

// UNSEEN are the characters that would not show, or would turn the order of others. The two joiners shape letters.
const UNSEEN = /((?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}])/gu;
const SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"};
const escape = c => SHORT[c] ?? c.replace(/[^]/g, unit => "\\u" + unit.charCodeAt().toString(16).padStart(4, "0"));

// visible is text, what would not show escaped: JSON stays JSON of the same value.
export const visible = text => text.replace(UNSEEN, escape);

// show appends text, with marked escapes of what would not show.
export function show(element, text) {
	text.split(UNSEEN).forEach((part, i) => element.append(i % 2 ? make("span", "unseen", escape(part)) : part));
	return element;
}

// make returns a new element; what is its class or its properties.
export function make(tag, what, ...children) {
	const element = document.createElement(tag);
	if (typeof what === "string") element.className = what;
	else Object.assign(element, what);
	element.append(...children);
	return element;
}

export const $ = id => document.getElementById(id);

export function draw(tag, attributes, ...children) {
	const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
	for (const name in attributes) element.setAttribute(name, attributes[name]);
	element.append(...children);
	return element;
}

// 1,234,567, or 4.2 if small.
export const count = n => n.toLocaleString("en", {maximumFractionDigits: n < 100 ? 1 : 0});

// As the commands write it.
export function bytes(n) {
	if (n < 1024) return `${Math.round(n)} B`;
	const unit = ["KiB", "MiB", "GiB", "TiB"].find(unit => (n /= 1024) < 1024 || unit === "TiB");
	return `${n.toFixed(1)} ${unit}`;
}

// Of seconds: 3 d 4 h, 2 min 5 s, 1.4 ms.
export function duration(s) {
	if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
	if (s < 1) return `${(s * 1e3).toFixed(s < 0.1 ? 1 : 0)} ms`;
	if (s < 60) return `${count(s)} s`;
	s = Math.round(s);
	const [size, unit, part, smaller] = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]].find(([size]) => s >= size);
	const rest = Math.floor(s % size / part);
	return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}
