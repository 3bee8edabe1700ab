// The one stream of the page: what is appended, as it becomes durable.

import {address, batches, entryOf, json, request} from "./api.js";

const SILENCE = 40_000;         // ms; the server sends a comment every 15 seconds
const SOONEST = 300, LATEST = 5000; // ms between two attempts
const SKIP = 20_000;            // entries; one that is further behind goes on at the head

// onBegin is called at each connection, before any entry; onEntries without gaps but those of SKIP.
export function tail({onBegin, onEntries, onState, onOther}) {
	let run = null;
	let last = null;  // the index that came last, or that the stream has begun after
	let store, wake;

	async function connect(signal) {
		const stat = await json("stat");
		if (signal.aborted) return;
		// A log of another name, or that has lost entries, is another.
		if (last !== null && (stat.store !== store || stat.head < last)) {
			last = null;
			onOther();
		}
		store = stat.store;
		if (last === null || stat.head - last > SKIP) last = stat.head;
		onBegin({...stat, head: last});

		const silent = new AbortController();
		let timer;
		const heard = () => {
			clearTimeout(timer);
			timer = setTimeout(() => silent.abort(new Error("the server is silent")), SILENCE);
		};
		heard();
		try {
			const response = await request(address("entries", {from: last + 1, follow: true, time: true}),
				{headers: {Accept: "text/event-stream"}, signal: AbortSignal.any([signal, silent.signal])});
			onState("live");
			for await (const lines of batches(response)) {
				heard();
				const entries = [];
				for (const line of lines) {
					if (!line.startsWith("data: ")) continue;
					const entry = entryOf(line.slice(6));
					if (entry && entry.index > last) {
						entries.push(entry);
						last = entry.index;
					} else if (line.startsWith('data: {"error":')) throw new Error(JSON.parse(line.slice(6)).error);
				}
				if (signal.aborted) return;
				if (entries.length) onEntries(entries);
			}
			throw new Error("the server has ended the stream");
		} finally {
			clearTimeout(timer);
		}
	}

	async function loop(signal) {
		for (let wait = SOONEST; !signal.aborted; wait = Math.min(2 * wait, LATEST)) {
			const began = performance.now();
			try {
				await connect(signal);
			} catch (error) {
				if (signal.aborted) return;
				onState("reconnecting", error.message);
			}
			if (performance.now() - began > LATEST) wait = SOONEST;
			await new Promise(resolve => {
				wake = resolve;
				setTimeout(resolve, wait * (0.75 + Math.random() / 2));
			});
		}
	}
	addEventListener("online", () => wake?.());

	function stop() {
		run?.abort();
		run = null;
	}
	function start() {
		stop();
		run = new AbortController();
		loop(run.signal);
	}
	return {
		start, stop,
		// behind skips what the page cannot catch up with, given the head.
		behind(head) {
			if (run && last !== null && head - last > SKIP) start();
		},
	};
}
