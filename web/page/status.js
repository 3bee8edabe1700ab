// The state of the server: what it holds, and in small charts what it does.

import {bytes, count, draw, duration, make} from "./text.js";

const EVERY = 2000, SPAN = 120_000; // ms between questions, and in a chart
const WIDTH = 120, HEIGHT = 28; // of a chart

// rates are what the server did between two answers of GET /stat: entries and bytes a second, seconds a sync
// or null without one. They are null if the server has begun to count again.
export function rates(before, now, seconds) {
	const more = (part, name) => now[part][name] - before[part][name], entries = more("appends", "entries"), batches = more("sync", "batches");
	if (now.store !== before.store || now.uptime < before.uptime || entries < 0 || batches < 0 || seconds <= 0) return null;
	return {entries: entries / seconds, bytes: more("appends", "bytes") / seconds, sync: batches ? more("sync", "seconds") / batches : null};
}

// sparkline is the line of samples, [{at, value}] with null for a gap, and the area under it.
export function sparkline(samples, since, until, most) {
	let line = "", area = "", run = [];
	for (const {at, value} of [...samples, {value: null}]) {
		if (value !== null) {
			run.push([Math.round((at - since) / (until - since) * WIDTH * 10) / 10, (HEIGHT - 1 - value / most * (HEIGHT - 3)).toFixed(1)]);
		} else if (run.length) {
			const curve = "M" + run.map(point => point.join(" ")).join("L");
			line += curve;
			area += `${curve}V${HEIGHT}H${run[0][0]}Z`;
			run = [];
		}
	}
	return {line, area};
}

function chart(label, write) {
	const value = make("span", "number", "–"), most = make("span", "most"), area = draw("path", {class: "area"}), line = draw("path", {class: "curve"});
	const svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"}, area, line), samples = [];
	return {
		element: make("div", "chart", make("span", "label", label), value, svg, most),
		add(at, last) {
			samples.push({at, value: last});
			while (samples[0].at < at - SPAN) samples.shift();
			const top = Math.max(...samples.map(s => s.value)), shape = sparkline(samples, at - SPAN, at, top || 1);
			line.setAttribute("d", shape.line);
			area.setAttribute("d", shape.area);
			value.textContent = last === null ? "–" : write(last);
			most.textContent = top ? `max ${write(top)}` : "";
		},
	};
}

const FACTS = { // of an answer of GET /stat
	head: s => count(s.head),
	readers: s => s.readers ? `${count(s.readers)}, ${s.most_behind ? `up to ${count(s.most_behind)}` : "none"} behind` : "none",
	connections: s => count(s.connections),
	stored: s => `${s.loose >= 0 ? `${count(s.loose)} loose, ` : ""}${count(s.packed)} packed, ${bytes(s.bytes)}`,
	"to be settled": s => s.unsettled ? count(s.unsettled) : "nothing",
	disk: s => s.disk ? `${bytes(s.disk.used)} used, ${bytes(s.disk.free)} free` : "",
	server: s => `${s.version.split(" (")[0]}, up ${duration(s.uptime)}`,
};

// status fills element. fetchStat() has the answer of GET /stat, latest is the newest; onRefused is told why
// appends are refused, or null, when that changes.
export function status(element, {fetchStat, onRefused}) {
	const charts = {entries: chart("appends/s", count), bytes: chart("bytes/s", bytes), sync: chart("sync", duration)};
	const facts = {}, list = make("dl", "facts"), note = make("p", {className: "note", role: "status"});
	for (const name in FACTS) list.append(make("div", "", make("dt", "", name), facts[name] = make("dd", "", "–")));
	const used = make("span"), meter = make("span", "meter", used);
	element.classList.add("state");
	element.replaceChildren(make("div", "charts", ...Object.values(charts).map(c => c.element)), list, note);

	let running = false, timer = 0, asking = false, answered = -Infinity, refused = null;
	const result = {start, stop, latest: null};

	function sample(rate) {
		for (const name in charts) charts[name].add(performance.now(), rate?.[name] ?? null);
	}

	function fill(s) {
		for (const name in facts) facts[name].textContent = FACTS[name](s);
		facts.disk.parentElement.hidden = !s.disk;
		if (!s.disk) return;
		const part = s.disk.used / (s.disk.used + s.disk.free);
		used.style.width = `${Math.round(part * 100)}%`;
		used.className = part > 0.95 ? "bad" : "";
		facts.disk.append(meter);
	}

	async function ask() {
		if (asking) return;
		asking = true;
		try {
			const s = await fetchStat(), now = performance.now();
			if (!running) return;
			if (s.rights === "write") throw new Error("this token may not read it");
			// After a pause a rate would be the mean of it.
			sample(now - answered < 5 * EVERY ? rates(result.latest, s, (now - answered) / 1000) : null);
			answered = now;
			result.latest = s;
			fill(s);
			note.textContent = "";
			const failed = s.failed ?? null;
			if (failed !== refused) onRefused(refused = failed);
		} catch (error) {
			if (!running) return;
			sample(null);
			note.textContent = `no status: ${error.message}`;
		} finally {
			asking = false;
			element.classList.toggle("stale", note.textContent !== "");
			clearTimeout(timer);
			if (running && !document.hidden) timer = setTimeout(ask, EVERY);
		}
	}

	const shown = () => running && !document.hidden && ask();
	document.addEventListener("visibilitychange", shown);
	function start() {
		running = true;
		shown();
	}
	function stop() {
		running = false;
		clearTimeout(timer);
	}
	return result;
}
