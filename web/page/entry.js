// The panel of an opened entry.

import {entryOf, read} from "./api.js";
import {blake3} from "./blake3.js";
import {find, parse, tree} from "./json.js";
import {clock} from "./row.js";
import {bytes, make, show} from "./text.js";

const RAW = 1 << 20; // characters shown as they are; copying has all
const LONG = 200;    // characters of a value to filter by

// onValue is told of a value to filter by, onContext of the wish to leave the filter.
export function entryPanel(element, {onValue, onStep, onContext, onClose, onShown, say}) {
	let controller = null, opened = null, raw = false;

	const button = (label, text, onclick) => make("button", {type: "button", className: "quiet", ariaLabel: label, title: label, onclick}, text);

	const title = make("h2"), context = button("Show in context", "In context", () => onContext(opened)), body = make("div", "body");
	element.append(make("div", "head", title, context,
		button("Previous entry (k)", "↑", () => onStep(-1)), button("Next entry (j)", "↓", () => onStep(1)),
		button("Copy the link", "Link", () => copy(`${location.href.split("#")[0]}#/${opened}`, "the link")), button("Close (Esc)", "×", onClose)), body);
	const bad = text => make("p", "bad", text);

	async function copy(text, what) {
		try {
			await navigator.clipboard.writeText(text);
			say(`copied ${what}`);
		} catch {
			say("the browser does not let this page copy: it does over https, or from localhost"); // or the user has refused
		}
	}

	// An entry is fetched again, so that what is verified is what the server sends now.
	async function open(index, {filtered = false} = {}) {
		context.hidden = !filtered;
		if (opened === index && !element.hidden) return;
		controller?.abort();
		controller = new AbortController();
		const {signal} = controller;
		opened = index;
		title.textContent = `Entry ${index}`;
		element.hidden = false;
		element.removeAttribute("data-verified");
		body.replaceChildren();
		try {
			let entry = null, head = 0;
			for await (const lines of read({from: index, read: 1, time: true, hash: true}, signal)) {
				for (const line of lines) {
					entry ??= entryOf(line);
					if (line.startsWith('{"head":')) ({head} = JSON.parse(line));
				}
			}
			if (signal.aborted) return;
			if (entry?.index !== index) body.append(bad(`There is no entry ${index}: the newest is ${head}.`));
			else if (entry.error) body.append(make("p", "wrong", "Damaged"), bad(entry.error));
			else fill(entry);
			onShown(entry);
		} catch (error) {
			if (!signal.aborted) body.append(bad(`The entry cannot be shown: ${error.message}`));
		}
	}

	function fill({index, time, hash, text}) {
		// What is hashed is what came, not what was made of it.
		const octets = new TextEncoder().encode(text), own = blake3(octets), right = own === hash;
		element.dataset.verified = right ? "yes" : "no";
		if (!right) {
			body.append(make("p", "wrong", "✗ Wrong hash"), bad(`These bytes have the hash ${own}. They are not what was stored, or they were changed on the way.`));
		}
		const fact = (name, ...values) => [make("dt", "", name), make("dd", "", ...values)];
		const facts = make("dl", "facts",
			...fact("time", time ? clock(time).join(" ") : "not known", make("span", "utc", time ?? "")),
			...fact("size", bytes(octets.length) + (octets.length < 1024 ? "" : ` (${octets.length} B)`)),
			...fact("hash", make("code", "", hash), right ? make("span", "ok", "✓ verified by this browser") : make("span", "bad", "✗ not that of the entry")));

		const content = make("div", "content");
		const asTree = button("Show as a tree", "Tree", () => choose(false)), asRaw = button("Show the bytes as they are", "Raw", () => choose(true));
		body.append(facts, make("div", "views", asTree, asRaw, button("Copy the entry", "Copy", () => copy(text, `entry ${index}`))), content);
		choose(raw);

		function choose(now) {
			raw = now;
			[asTree.ariaPressed, asRaw.ariaPressed] = [!raw, raw];
			content.replaceChildren(raw ? show(make("pre"), text.slice(0, RAW)) : tree(text, {onValue: (path, jsonText) => value(text, path, jsonText)}));
			if (raw && text.length > RAW) content.append(make("p", "", `… and ${text.length - RAW} characters more, which Copy has`));
		}
	}

	// The server compares arrays as a whole, so a value within counts as its array.
	function value(text, path, jsonText) {
		const array = path.findIndex(step => typeof step === "number");
		if (array >= 0) {
			path = path.slice(0, array);
			jsonText = find(parse(text), path).text;
		}
		if (!path.length || jsonText.length > LONG) say("there is no filter for this value: it is too long, or in an array that is too long");
		else onValue(path, jsonText);
	}

	function close() {
		controller?.abort();
		opened = null;
		element.hidden = true;
		body.replaceChildren();
	}
	return {open, close, get index() { return opened; }};
}
