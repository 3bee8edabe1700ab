// The search that is shown: its filter, what it has found, and how far it is.

import {brief} from "./cache.js";
import {parseFilter, search} from "./filter.js";
import {$, count} from "./text.js";

const MATCHES = 500; // that are shown before it asks whether to go on
const OFTEN = 100;   // ms between two texts of its progress

export function searching({scope, cells, onFound, onState, onEnd}) {
	let now = null; // where is "" if text cannot be read, controller null unless it runs
	let told = 0;

	// With no text there is no search any more.
	function run(text) {
		now?.controller?.abort();
		let where = "", wrong = "";
		try {
			where = parseFilter(text);
		} catch (error) {
			wrong = error.message;
		}
		now = where || wrong ? {text, where, entries: [], at: scope().first - 1, through: 0, controller: null} : null;
		$("filter").value = text;
		$("filter").setAttribute("aria-invalid", Boolean(wrong));
		$("progress").hidden = !now;
		if (wrong) progress(`The filter cannot be read: ${wrong}`);
		else if (now) more();
	}

	async function more() {
		const mine = now, through = mine.through = scope().last;
		if (mine.at >= through) return progress();
		const {signal} = mine.controller = new AbortController();
		let wrong = "";
		progress();
		onState();
		try {
			mine.at = await search({
				where: mine.where, from: mine.at + 1, through, most: MATCHES, signal,
				onFound(batch) {
					for (const entry of batch) mine.entries.push(brief(entry, cells));
					if (mine === now) onFound();
				},
				onAt(at) {
					mine.at = at;
					if (mine === now) progress();
				},
			});
		} catch (error) {
			if (!signal.aborted) wrong = `The search has ended: ${error.message}`;
		}
		mine.controller = null;
		if (mine !== now) return;
		progress(wrong);
		onEnd($("found").textContent);
	}

	function progress(wrong = "") {
		const {at, through, entries: {length: n}} = now, {first, selected} = scope(), running = Boolean(now.controller);
		const all = Math.max(0, through - first + 1);
		$("found").classList.toggle("bad", Boolean(wrong));
		$("stop").hidden = !running;
		$("more").hidden = running || at >= through;
		$("progress").classList.toggle("running", running);
		$("progress").style.setProperty("--part", all ? Math.min(1, (at - first + 1) / all) : 1);
		if (!wrong && running && n > 50 && performance.now() - told < OFTEN) return;
		told = performance.now();
		$("found").textContent = wrong || `${count(n)} ${n === 1 ? "match" : "matches"} ` +
			(at < through ? `through ${count(at)} of ${count(through)}` : `in ${count(all)} entries${selected ? " of the selected time" : ""}`);
	}

	$("stop").onclick = () => now.controller.abort();
	$("more").onclick = more;

	return {
		run, more,
		get on() { return Boolean(now); },
		get text() { return now?.text ?? ""; },
		get where() { return now.where; },
		// after is the entry through which all is searched, else Infinity.
		get after() { return !now.where || now.controller || now.at < now.through ? Infinity : now.at; },
		get empty() { return !now.where || now.controller ? "" : now.at < now.through ? "Nothing matches so far." : "Nothing matches."; },
		matches: {
			get count() { return now.entries.length; },
			index: position => now.entries[position].index,
			position: index => now.entries.findIndex(entry => entry.index === index),
			get: position => now.entries[position],
			need() {},
		},
	};
}
