// A form that appends an entry, and shows a refusal at its byte.

import {bytes, count, make, show} from "./text.js";

const AROUND = 40; // characters shown on both sides of a refused one

// position is where byte, counted from 0 in UTF-8, lies in text: [begin, end) in units of UTF-16, both the
// length of text if it lies behind.
export function position(text, byte) {
	let at = 0;
	for (const c of text) {
		const code = c.codePointAt(0);
		byte -= code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		if (byte < 0) return [at, at + c.length];
		at += c.length;
	}
	return [at, at];
}

// refusedAt is the position that error names, or null. A byte "of the entry" counts from where that begins.
export function refusedAt(text, error) {
	const found = / at byte (\d+)( of the entry)?/.exec(error);
	return found && position(text, Number(found[1]) + (found[2] ? /^[ \t\r\n]*/.exec(text)[0].length : 0));
}

// appendForm fills element, a form. post(text) has {status, body}, maxEntry() is the limit in bytes, readable()
// is whether an entry has a page.
export function appendForm(element, {post, maxEntry, readable = () => true}) {
	const area = make("textarea", {rows: 4, spellcheck: false, placeholder: '{"user":"ann","amount":5}', ariaLabel: "entry to append, JSON"});
	const send = make("button", "", "append"), size = make("span", "size"), says = make("div", {className: "says", role: "status"});
	const say = (kind, ...children) => says.replaceChildren(make("p", kind, ...children));
	element.classList.add("append");
	element.replaceChildren(area, make("div", "send", send, make("kbd", "", "Ctrl Enter"), size), says);

	area.oninput = () => {
		const n = new TextEncoder().encode(area.value).length, most = maxEntry();
		size.textContent = n ? bytes(n) + (n > most ? `, more than the ${bytes(most)} that an entry may have` : "") : "";
		size.classList.toggle("bad", n > most);
		says.replaceChildren();
	};

	function refused(text, error) {
		say("bad", error);
		const found = refusedAt(text, error);
		if (!found) return;
		const [begin, end] = found, from = Math.max(0, begin - AROUND), to = end + AROUND;
		const excerpt = show(make("pre"), (from ? "…" : "") + text.slice(from, begin));
		excerpt.append(show(make("mark"), text.slice(begin, end) || "⟨end⟩"));
		says.append(show(excerpt, text.slice(end, to) + (to < text.length ? "…" : "")));
		area.focus();
		area.setSelectionRange(begin, end);
	}

	element.onsubmit = async event => {
		event.preventDefault();
		const text = area.value;
		if (!text.trim() || send.disabled) return;
		send.disabled = true;
		say("", "…");
		try {
			const {status, body} = await post(text);
			if (status === 201) say("ok", "stored as ", readable() ? make("a", {href: `#/${body.index}`}, count(body.index)) : count(body.index));
			else refused(text, body?.error ?? `the server answered with status ${status}`);
		} catch (error) {
			// The request may have arrived before the connection broke.
			say("bad", `outcome unknown: the entry may or may not be stored (${error.message})`);
		} finally {
			send.disabled = false;
		}
	};
	area.onkeydown = event => {
		if (event.key !== "Enter" || !event.ctrlKey && !event.metaKey) return;
		event.preventDefault();
		element.requestSubmit();
	};
}
