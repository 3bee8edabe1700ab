// Members of entries as columns, and downloads.

import {find, parse} from "./json.js";
import {make, visible} from "./text.js";

const KEPT = "columns"; // in localStorage
const SUGGESTED = 200, LARGE = 32 << 10; // members at most, of entries of so many characters at most
const WIDE = 300; // characters of a cell

// A path is as in --where of the commands: a dot goes one level down.
const member = (entry, path) => find(entry, path.split("."));

function scalars(node, path, found) {
	for (const {name, value} of node.members ?? []) {
		if (found.size >= SUGGESTED) return;
		if (!name || name.includes(".")) continue;
		const inner = [...path, name];
		if (value.members && inner.length < 3) scalars(value, inner, found);
		else found.add(inner.join("."));
	}
}

// columns keeps the chosen members, for the next visit too. see adds an entry's members to the suggestions,
// cells are the texts of its chosen ones.
export function columns({onChange}) {
	const list = make("ul"), names = make("datalist", {id: "column-names"});
	const input = make("input", {placeholder: "member, such as order.total", autocomplete: "off", spellcheck: false, ariaLabel: "member to show as a column"});
	const form = make("form", "", input, names, make("button", "", "add")), seen = new Set();
	const result = {chosen: [], chooser: make("div", "chooser", list, form), see, cells};
	let looked = -Infinity;
	input.setAttribute("list", names.id);
	form.onsubmit = event => {
		event.preventDefault();
		const path = input.value.trim();
		if (path && !result.chosen.includes(path)) set([...result.chosen, path]);
		input.value = "";
	};
	try {
		render(JSON.parse(localStorage.getItem(KEPT)).map(String));
	} catch {
		render([]); // nothing kept, or no storage
	}

	function set(paths) {
		render(paths);
		try {
			localStorage.setItem(KEPT, JSON.stringify(paths));
		} catch { /* they hold for this visit */ }
		onChange(paths);
	}

	function render(paths) {
		result.chosen = paths;
		// A button puts others in the place of n paths from i on.
		const button = (text, label, i, n, ...others) =>
			make("button", {type: "button", title: label, ariaLabel: label, onclick: () => set(paths.toSpliced(i, n, ...others))}, text);
		list.replaceChildren(...paths.map((path, i) => make("li", "",
			i ? button("‹", `move ${path} to the left`, i - 1, 2, path, paths[i - 1]) : "",
			make("span", "name", visible(path)), button("×", `do not show ${path}`, i, 1))));
		list.hidden = !paths.length;
	}

	function see(entryText) {
		const now = performance.now(), before = seen.size;
		if (entryText.length > LARGE || before >= SUGGESTED || now - looked < 200 && before > 20) return;
		looked = now;
		scalars(parse(entryText), [], seen);
		if (seen.size > before) names.replaceChildren(...[...seen].sort().map(value => make("option", {value})));
	}

	function cells(entryText) {
		const entry = parse(entryText);
		return result.chosen.map(path => {
			const node = member(entry, path);
			return node ? visible((node.value ?? node.text).slice(0, WIDE)) : "";
		});
	}
	return result;
}

// field is text as a field of CSV, RFC 4180, quoted also where a spreadsheet may see its end. What that would take
// for a formula begins with an apostrophe.
export function field(text, isText = true) {
	if (isText && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
	return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// records turns the protocol's lines into those of a file, "ndjson" or "csv". In CSV each has the index, time and
// hash if the first has them, and the columns or the whole entry; a damaged one has only its index.
export async function* records(lines, columns, format) {
	let before; // the members ahead of the entry
	const cell = node => node ? field(node.value ?? node.text, node.type === "string") : "";
	for await (const line of lines) {
		if (!line.startsWith('{"index":')) continue; // the head, or progress
		if (format === "ndjson") {
			yield line + "\n";
			continue;
		}
		const node = parse(line), entry = member(node, "entry");
		if (!before) {
			before = ["index", "time", "hash"].filter(name => member(node, name));
			yield [...before, ...columns.length ? columns : ["entry"]].map(name => field(name)).join() + "\r\n";
		}
		const members = columns.length ? columns.map(path => cell(member(entry, path))) : [field(entry?.text ?? "")];
		yield [...before.map(name => cell(member(node, name))), ...members].join() + "\r\n";
	}
}

// download makes a Blob of lines. It holds a MiB of text; the browser keeps the rest.
export async function download({lines, columns, format}) {
	const parts = [], type = format === "csv" ? "text/csv;charset=utf-8" : "application/x-ndjson";
	let text = "";
	for await (const record of records(lines, columns, format)) {
		text += record;
		if (text.length < 1 << 20) continue;
		parts.push(new Blob([text]));
		text = "";
	}
	return new Blob([...parts, text], {type});
}

export function save(blob, name) {
	const link = make("a", {href: URL.createObjectURL(blob), download: name});
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
