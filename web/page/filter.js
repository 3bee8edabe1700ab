// Filters: their notation, and the search.

import {entryOf, read} from "./api.js";
import {parse} from "./json.js";

const BARE = /[^\s,=."]+/y, STRING = /"(?:[^"\\]|\\.)*"/y, WORD = /[^\s,]+/y, BETWEEN = /[\s,]*/y, SPACE = /\s*/y;

// parseFilter turns `user = "ann", order.total = 9.5` into the JSON of an object, "" if it has no member. Numbers keep their
// digits. A value that is not JSON is a string.
export function parseFilter(text) {
	let at = 0;
	const match = what => {
		what.lastIndex = at;
		const [found] = what.exec(text) ?? [""];
		at += found.length;
		return found;
	};
	const step = () => text[at] === '"' ? JSON.parse(match(STRING) || fail("a closing quote")) : match(BARE) || fail("the name of a member");
	const fail = want => { throw new Error(`want ${want} after “${text.slice(Math.max(0, at - 20), at)}”, such as user = "ann"`); };
	const root = new Map();
	for (match(BETWEEN); at < text.length; match(BETWEEN)) {
		const path = [step()];
		for (; text[at] === "."; path.push(step())) at++;
		match(SPACE);
		if (text[at] !== "=") fail("“=” and a value");
		at++;
		match(SPACE);
		let into = root;
		for (const name of path.slice(0, -1)) {
			if (!into.has(name)) into.set(name, new Map());
			into = into.get(name);
			if (!(into instanceof Map)) throw new Error(`“${name}” has two values`);
		}
		if (into.has(path.at(-1))) throw new Error(`“${path.join(".")}” has two values`);
		into.set(path.at(-1), value());
	}
	return root.size ? object(root) : "";

	function value() {
		const c = text[at];
		if (c === '"') return match(STRING) || fail("a closing quote");
		if (c === "{" || c === "[") {
			const begin = at;
			let depth = 0;
			do {
				if (at >= text.length) fail("a closing bracket");
				if (text[at] === '"') {
					if (!match(STRING)) fail("a closing quote");
					continue;
				}
				if ("{[".includes(text[at])) depth++;
				if ("}]".includes(text[at])) depth--;
				at++;
			} while (depth);
			return parse(text.slice(begin, at)).text;
		}
		const word = match(WORD) || fail("a value");
		return /^(-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false|null)$/.test(word) ? word : JSON.stringify(word);
	}
}

function object(map) {
	return "{" + [...map].map(([name, value]) => `${JSON.stringify(name)}:${value instanceof Map ? object(value) : value}`).join() + "}";
}

export function term(path, jsonText) {
	return path.map(name => /^[^\s,=."]+$/.test(name) ? name : JSON.stringify(name)).join(".") + " = " + jsonText;
}

// search returns the index through which it has looked.
export async function search({where, from, through, most, signal, onFound, onAt}) {
	let at = from - 1, found = 0;
	for await (const lines of read({where, from, through, read: most, time: true}, signal)) {
		const entries = [];
		for (const line of lines) {
			const entry = entryOf(line);
			if (entry) {
				entries.push(entry);
				at = entry.index;
			} else if (line.startsWith('{"at":')) at = JSON.parse(line).at;
		}
		found += entries.length;
		if (entries.length) onFound(entries);
		onAt(at);
	}
	return found === most ? at : Math.max(at, through);
}
