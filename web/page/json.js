// Reads JSON without loss, and shows it as a tree.

import {count, make, show, visible} from "./text.js";

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const CLOSE = {object: "}", array: "]"};

// parse returns {type, text, …}, text being the value's own JSON. An "object" has members, [{name, value}], an
// "array" items, a "string" its value; "number", "true", "false" and "null" have no more. Levels cost no stack.
export function parse(text) {
	let at = 0, root, name;
	const open = []; // what at is in
	const fail = (want, where = at) => {
		throw new SyntaxError(`not JSON: found ${where < text.length ? JSON.stringify(text[where]) : "the end"} at character ${where}, want ${want}`);
	};
	const match = what => {
		what.lastIndex = at;
		const [found] = what.exec(text) ?? [""];
		at += found.length;
		return found;
	};
	const next = () => (match(SPACE), text[at]);
	const take = (c, want = `"${c}"`) => next() === c ? at++ : fail(want);
	const string = want => {
		const start = take('"', want);
		for (let slashes = 1; slashes % 2; at++) { // too long, perhaps, for a regular expression
			at = text.indexOf('"', at);
			if (at < 0) fail('"', text.length);
			for (slashes = 0; text[at - slashes - 1] === "\\";) slashes++;
		}
		const raw = text.slice(start, at);
		return {type: "string", text: raw, value: JSON.parse(raw)};
	};
	const value = () => {
		switch (next()) {
			case "{": return {type: "object", text: "", members: [], start: at++};
			case "[": return {type: "array", text: "", items: [], start: at++};
			case '"': return string();
		}
		const scalar = match(SCALAR) || fail("a value");
		return {type: /[a-z]/.test(scalar[0]) ? scalar : "number", text: scalar};
	};
	for (;;) {
		const around = open.at(-1);
		if (around?.members) {
			name = string("the name of a member").value;
			take(":");
		}
		const node = value();
		if (!around) root = node;
		else if (around.members) around.members.push({name, value: node});
		else around.items.push(node);
		if (node.type in CLOSE) {
			open.push(node);
			if (next() !== CLOSE[node.type]) continue;
		}
		while (open.length && next() === CLOSE[open.at(-1).type]) {
			const ended = open.pop();
			ended.text = text.slice(ended.start, ++at);
		}
		if (open.length) take(",", `"," or "${CLOSE[open.at(-1).type]}"`);
		else return next() ? fail("the end") : root;
	}
}

// path has names and indices.
export function find(node, path) {
	for (const step of path) {
		node = node?.items ? (/^\d+$/.test(step) ? node.items[step] : undefined) : node?.members?.find(m => m.name === step)?.value;
	}
	return node;
}

const SHOWN = 100; // members shown at first, rows unfolded at first
const CUT = 1000, LOT = 1 << 20; // characters shown at first, and added at once
const INDENTED = 12; // levels; those below move less
const UNFOLDED = 5; // levels unfolded at first

// cut puts text or its beginning in element; a button adds the rest.
function cut(element, text) {
	const {length} = text, button = make("button", {className: "more", type: "button", onclick: () => extend(LOT)});
	let end = 0;
	function extend(by) {
		const begin = end;
		end = Math.min(begin + by, length);
		if (/[\ud800-\udbff]/.test(text[end - 1])) end--; // half a character
		show(element, text.slice(begin, end));
		button.textContent = `… show ${length - end <= LOT ? "all" : count(LOT) + " more of"} ${count(length)} characters`;
		if (end === length) button.remove();
	}
	extend(length <= 2 * CUT ? length : CUT);
	return end < length ? [element, button] : [element];
}

// tree returns text, JSON, as a tree to fold. onValue(path, jsonText) is told of a chosen value.
export function tree(text, {onValue} = {}) {
	const root = make("div", {className: onValue ? "tree choosing" : "tree", role: "tree", ariaLabel: "entry"});
	const rows = new WeakMap(); // of an item: {path, members, group} to fold, or {act} when chosen
	const isOpen = item => item.ariaExpanded === "true";
	let current; // the item that Tab comes to

	function add(row, level, label, ...line) {
		const item = make("div", {className: "item", role: "treeitem", ariaLevel: level, ariaLabel: label, tabIndex: -1}, make("div", "line", ...line));
		rows.set(item, row);
		return item;
	}

	function itemOf(node, path) {
		const members = node.members ?? node.items?.map((value, name) => ({name, value}));
		const line = [make("span", "twist")], row = {path, members}, last = path.at(-1), brief = text => visible(String(text).slice(0, CUT));
		let about = brief(node.text);
		if (path.length) line.push(...cut(make("span", typeof last === "number" ? "name index" : "name"), String(last)), make("span", "colon", ":"));
		if (members) {
			const n = members.length, [left, right, one] = node.members ? ["{", "}", "member"] : ["[", "]", "item"];
			about = `${count(n)} ${one}${n === 1 ? "" : "s"}`;
			line.push(make("span", "size", n ? `${left} ${about} ${right}` : left + right));
		} else {
			line.push(...cut(make("span", {className: `value ${node.type}`, title: onValue ? "filter by this value" : ""}), node.text));
			row.act = onValue && (() => onValue(path, node.text));
		}
		const item = add(row, path.length + 1, path.length ? `${brief(last)}: ${about}` : about, ...line);
		if (members?.length) {
			item.append(row.group = make("div", {className: path.length < INDENTED ? "group" : "group deep", role: "group", hidden: true}));
			item.ariaExpanded = false;
		}
		return item;
	}

	function fill({path, members, group}) {
		const begin = group.childElementCount, end = begin + Math.min(Math.max(SHOWN, begin), 10 * SHOWN);
		const added = members.slice(begin, end).map(({name, value}) => itemOf(value, [...path, name]));
		group.append(...added);
		if (end < members.length) {
			const label = `show more: ${count(members.length - end)} are left`, more = add({act() {
				more.remove();
				focus(fill({path, members, group})[0]);
			}}, path.length + 2, label, make("span", "more", label));
			group.append(more);
		}
		return added;
	}

	// fold returns the items that are new.
	function fold(item, open = !isOpen(item)) {
		const row = rows.get(item);
		item.ariaExpanded = open;
		row.group.hidden = !open;
		return open && !row.group.childElementCount ? fill(row) : [];
	}

	function focus(item) {
		if (!item) return;
		current.tabIndex = -1;
		current = item;
		current.tabIndex = 0;
		current.focus();
	}

	root.onclick = event => {
		const item = event.target.closest(".item"), row = rows.get(item);
		if (!row || event.target.closest("button") || String(getSelection())) return; // selecting text is no click
		focus(item);
		if (row.group && event.target.closest(".line")) fold(item);
		else if (event.target.closest(".value, .more")) row.act?.();
	};

	root.onkeydown = event => {
		const item = event.target, row = rows.get(item);
		if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
		const all = [...root.querySelectorAll(".item:not([hidden] *)")], at = all.indexOf(item), choose = () => row.group ? fold(item) : row.act?.();
		const act = {
			ArrowDown: () => focus(all[at + 1]),
			ArrowUp: () => focus(all[at - 1]),
			Home: () => focus(all[0]),
			End: () => focus(all.at(-1)),
			ArrowRight: () => isOpen(item) ? focus(all[at + 1]) : row.group && fold(item),
			ArrowLeft: () => isOpen(item) ? fold(item) : focus(item.parentElement.closest(".item")),
			Enter: choose,
			" ": choose,
		}[event.key];
		if (!act) return;
		act();
		event.preventDefault();
		event.stopPropagation(); // the page has keys too
	};

	current = itemOf(parse(text), []);
	current.tabIndex = 0;
	root.append(current);
	let room = SHOWN; // to unfold from the top down
	for (const queue = [current]; queue.length;) {
		const item = queue.shift(), {path, members, group} = rows.get(item);
		if (!group || path.length && (members.length > room || path.length >= UNFOLDED)) continue;
		queue.push(...fold(item, true));
		room -= members.length;
	}
	return root;
}
