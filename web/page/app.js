// The page: what its parts say to each other.

import {json, post, whenUnauthorized} from "./api.js";
import {appendForm} from "./append.js";
import {cache} from "./cache.js";
import {columns as chosenColumns} from "./columns.js";
import {entryPanel} from "./entry.js";
import {term} from "./filter.js";
import {destination, firstSince} from "./goto.js";
import {histogram} from "./histogram.js";
import {list as virtualList} from "./list.js";
import {fillRow} from "./row.js";
import {saving} from "./save.js";
import {hear, note, say} from "./say.js";
import {searching} from "./search.js";
import {logIn} from "./session.js";
import {status} from "./status.js";
import {tail} from "./tail.js";
import {$, count, make} from "./text.js";

let rights = {read: false, write: false};
let head = 0;      // the newest entry
let end = 0;       // the newest that the list shows, head unless the tail is paused
let held = false;  // the tail was paused by the user's wish, not by scrolling
let begun = false; // the head is known
let span = null;   // {first, last, selected: true} of the histogram

// What the list shows.

const columns = chosenColumns({onChange: () => {
	entries.clear(); // cut entries keep only the chosen members
	list.refill();
	names();
}});
const cells = text => columns.chosen.length ? columns.cells(text) : undefined;
const entries = cache({head: () => head, cells, onChange: () => list.schedule()});
const list = virtualList($("list"), {
	fill: (row, entry, index) => fillRow(row, entry, index, columns.chosen.length ? columns : null),
	onOpen: position => visit(source().index(position)),
	onScroll(atEnd) {
		if (search.on || span) return;
		if (!atEnd && list.follow) pause();
		else if (atEnd && !held) resume();
	},
});

const all = {
	get first() { return span?.first ?? 1; },
	get last() { return span?.last ?? end; },
	get count() { return Math.max(0, this.last - this.first + 1); },
	index: position => all.first + position,
	position: index => index - all.first,
	get: position => entries.get(all.first + position),
	need: (a, b) => entries.need(all.first + a, all.first + b),
};
const source = () => search.on ? search.matches : all;

const scope = () => span ?? {first: 1, last: head};
const search = searching({
	scope, cells,
	onFound: () => list.schedule(),
	onState: state,
	onEnd(text) {
		say(text);
		state();
	},
});

function names() {
	const chosen = columns.chosen;
	document.body.style.setProperty("--cells", chosen.length ? `repeat(${chosen.length}, minmax(0, 1fr))` : "");
	$("names").replaceChildren(make("span", "index", "#"), make("span", "time", "time"),
		...chosen.length ? chosen.map(path => make("span", "cell", path)) : [make("span", "text", "entry")]);
}

// The tail.

let connection = "connecting", lost = null, refused = null, other = "";
function state() {
	const live = connection !== "live" ? connection : list.follow ? "live" : "paused";
	if ($("live").textContent !== live) $("live").textContent = live;
	document.body.dataset.live = live;
	$("head").textContent = !begun ? "" : head === 1 ? "1 entry" : `${count(head)} entries`;
	$("pause").setAttribute("aria-pressed", !list.follow);
	$("pause").textContent = list.follow ? "Pause" : "Follow";
	const news = span ? 0 : head - (search.on ? search.after : end);
	$("new").hidden = list.follow || news <= 0;
	if (news > 0) $("new").textContent = `${count(news)} new`;
	$("empty").hidden = !begun || source().count > 0;
	$("empty").textContent = search.on ? search.empty : span ? "No entry is of that time." : "The log is empty. What is appended appears here.";
	document.body.style.setProperty("--digits", Math.max(4, String(head).length));
}
function banner() {
	const says = lost ? `Connection lost: ${lost}. Reconnecting…` : refused ? `Appends refused: ${refused}` : other;
	$("banner").hidden = !says;
	if ($("banner").textContent !== says) $("banner").textContent = says;
}

function pause() {
	list.follow = false;
	state();
}
function resume() {
	held = false;
	end = head;
	list.follow = true;
	state();
}
function toggle() {
	if (list.follow) {
		held = true;
		pause();
	} else latest();
}
function latest() {
	unspan();
	close("");
	resume();
}

let queued = 0; // entries arrive more often than the screen is drawn
function arrived() {
	queued = 0;
	if (list.follow) end = head;
	list.schedule();
	state();
	bars.refresh();
	hear(head);
}
const follower = tail({
	onBegin(stat) {
		lost = null;
		head = Math.max(head, stat.head);
		if (list.follow || !begun) end = head;
		if (!begun) {
			begun = true;
			route();
		}
		arrived();
		banner();
	},
	onEntries(batch) {
		for (const entry of batch) entries.put(entry);
		head = batch.at(-1).index;
		columns.see(batch.at(-1).text ?? "{}");
		queued ||= document.hidden ? setTimeout(arrived, 1000) : requestAnimationFrame(arrived);
	},
	onState(now, why) {
		connection = now;
		lost = now === "reconnecting" ? why : null;
		if (now === "live") setTimeout(() => { other = ""; banner(); }, 10_000);
		state();
		banner();
		if (now === "reconnecting") admit();
	},
	onOther() {
		[head, end, begun] = [0, 0, false];
		entries.clear();
		unspan();
		close("");
		list.show(source());
		list.follow = !search.on;
		other = "The server has another log now. The page shows that one.";
	},
});

// The address: #/1234 is an entry, and ?filter=… what is searched for.

// visit goes to an entry or null, with a filter or "".
function visit(index, filter = search.text) {
	const hash = `#/${index ?? ""}` + (filter && "?" + new URLSearchParams({filter}));
	if (location.hash !== hash) history.pushState(null, "", hash);
	route();
}
// With no text it shows the log again, at the open entry.
const filterBy = text => visit(text ? null : panel.index, text);

function route() {
	if (!begun) return;
	const [, digits, parameters] = /^#\/(\d*)\??(.*)$/.exec(location.hash) ?? [, "", ""];
	const filter = new URLSearchParams(parameters).get("filter") ?? "";
	if (filter !== search.text) run(filter);
	if (!digits) {
		panel.close();
		bars.mark(null);
		if (!list.follow && !search.on && list.cursor < 0 && !held && !span) resume();
		return;
	}
	const index = Number(digits);
	if (!search.on) {
		if (span && (index < span.first || index > span.last)) {
			unspan();
			list.show(all);
		}
		if (index > all.last && !span) end = head;
		list.follow = false;
	}
	list.select(source().position(index));
	state();
	panel.open(index, {filtered: search.on});
}
addEventListener("hashchange", route);

// With "" it leaves the filter too.
function close(filter = search.text) {
	if (panel.index === null && filter === search.text) return;
	const within = $("entry").contains(document.activeElement);
	visit(null, filter);
	if (within) $("list").focus();
}

const panel = entryPanel($("entry"), {
	say: note,
	onStep: step,
	onClose: () => close(),
	onContext: index => visit(index, ""),
	onShown(entry) { bars.mark(entry?.time ?? null); },
	onValue(path, jsonText) {
		const added = term(path, jsonText), text = $("filter").value.trim();
		filterBy(text.includes(added) ? text : `${text} ${added}`.trim());
	},
});
function step(by) {
	if (!source().count) return;
	const position = list.move(by);
	if (!search.on && position < source().count - 1) pause();
	if (panel.index === null) return;
	history.replaceState(null, "", location.hash.replace(/\d*(?=\?|$)/, source().index(position)));
	route();
}

// With no text it shows the log again, where the cursor is.
function run(text) {
	const before = list.cursor >= 0 ? source().index(list.cursor) : null;
	search.run(text);
	list.show(source());
	if (search.on) list.follow = false;
	else if (!span) {
		if (before === null) resume();
		else list.select(all.position(before));
	}
	state();
}

// Its parts.

const bars = histogram($("histogram"), {
	fetchCounts: (since, until, buckets) => json("histogram?" + new URLSearchParams(since ? {since, until, buckets} : {buckets})),
	async onSelect(since, until, first) {
		const after = await firstSince(until).catch(() => 0);
		respan({first, last: after ? after - 1 : head, selected: true});
	},
	onClear() {
		if (span) respan(null);
	},
});
function unspan() {
	if (!span) return;
	span = null;
	bars.clear();
}
function respan(selected) {
	span = selected;
	if (search.on) return run(search.text);
	if (panel.index !== null && span) close();
	list.show(all);
	list.follow = false;
	if (span) list.edge(0);
	else resume();
	state();
}

const state_ = status($("status"), {
	async fetchStat() {
		const stat = await json("stat");
		follower.behind(stat.head);
		return stat;
	},
	onRefused(text) {
		refused = text;
		banner();
	},
});
let maxEntry = 16 << 20;
appendForm($("append"), {post: text => post("entries", text), readable: () => rights.read, maxEntry: () => state_.latest?.max_entry ?? maxEntry});
$("columns").append(columns.chooser);

const offer = saving($("download"), {columns, shown: () => search.on
	? {where: search.where, from: scope().first, through: scope().last, entries: null}
	: {from: all.first, through: Math.max(1, all.last), entries: all.count}});

// Who is asked for what.

function reveal(id, open) {
	if (id === "status") $(id).classList.toggle("whole", open);
	else $(id).hidden = !open;
	document.querySelector(`[aria-controls="${id}"]`).ariaExpanded = open;
	if (open && id === "download") offer();
	if (open) $(id).querySelector("textarea, input")?.focus();
}
$("panels").onclick = ({target}) => {
	const id = target.getAttribute("aria-controls");
	if (id === "help") $("help").showModal();
	else if (id) reveal(id, target.ariaExpanded !== "true");
};

async function admit() {
	let now;
	try {
		now = await json("session");
	} catch (error) {
		if (error.status !== 404) return; // the stream tries again, then so does this
		now = {access: "open", rights: {read: true, write: true}};
	}
	const before = rights, {read: may, write} = rights = now.rights;
	if (may && before.read && write === before.write) return;
	$("login").hidden = may || write;
	$("log").hidden = $("panels").hidden = $("live").hidden = !may;
	$("only").hidden = may || !write;
	$("logout").hidden = now.access !== "token" || !may && !write;
	reveal("append", !may && write);
	document.querySelector('[aria-controls="append"]').hidden = !write;
	if (may) {
		if (before.read) return;
		names();
		list.show(all);
		list.follow = true;
		follower.start();
		state_.start();
		return;
	}
	follower.stop();
	state_.stop();
	[lost, refused, begun, head, end] = [null, null, false, 0, 0];
	panel.close();
	entries.clear();
	for (const id of ["columns", "download"]) reveal(id, false);
	unspan();
	run("");
	banner();
	if (write) maxEntry = (await json("stat").catch(() => ({}))).max_entry ?? maxEntry;
	else $("token").focus();
}
whenUnauthorized(admit);
logIn($("login"), $("logout"), admit);

// Buttons and keys.

$("pause").onclick = toggle;
$("new").onclick = () => search.on ? search.more() : latest();
$("clear").onclick = () => filterBy("");
$("filtering").onsubmit = event => {
	event.preventDefault();
	filterBy($("filter").value.trim());
	$("list").focus();
};
$("going").onsubmit = async event => {
	event.preventDefault();
	const text = $("goto").value.trim(), [index, says] = text ? await destination(text, head) : [null, ""];
	if (says) note(says);
	if (index === null) return;
	if (index) visit(index, "");
	else latest();
	$("list").focus();
};

const KEYS = {
	"/": () => { $("filter").focus(); $("filter").select(); },
	g() { $("goto").focus(); $("goto").select(); },
	j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
	Enter() { if (list.cursor >= 0) visit(source().index(list.cursor)); },
	Escape: () => close(),
	" ": toggle,
	PageDown: () => list.page(1), PageUp: () => list.page(-1),
	Home: () => list.edge(0),
	End() {
		if (!search.on && !span) held = false;
		list.edge(Infinity);
	},
	"?": () => $("help").showModal(),
};
document.addEventListener("keydown", event => {
	const {target, key} = event, act = KEYS[key];
	if (!act || event.ctrlKey || event.altKey || event.metaKey || $("help").open || $("log").hidden) return;
	if (target.matches("input, textarea, select")) {
		if (key !== "Escape") return;
		target.blur();
		$("list").focus();
	} else if (target.matches("button, a, summary") && (key === "Enter" || key === " ")) return;
	else act();
	event.preventDefault();
});

admit();
