// The panel that downloads what is shown.

import {read} from "./api.js";
import {download, save} from "./columns.js";
import {count} from "./text.js";

const MOST = 1_000_000; // entries, which the browser has to hold

// shown() has what to read and how many entries that are, null if it is not known.
export function saving(element, {shown, columns}) {
	const says = element.querySelector(".what"), stop = element.querySelector(".quiet");
	let controller = null;

	function offer() {
		const {entries: n} = shown();
		says.textContent = n === null ? "All that matches" : n > MOST ? `The newest ${count(MOST)} of ${count(n)} entries` : `${count(n)} ${n === 1 ? "entry" : "entries"}`;
	}

	async function fetchFile(format) {
		const {signal} = controller = new AbortController(), {entries: total, ...parameters} = shown();
		if (total > MOST) parameters.from = parameters.through - MOST + 1;
		async function* lines() {
			let n = 0;
			for await (const batch of read({...parameters, read: MOST, time: true, hash: true}, signal)) {
				yield* batch;
				n += batch.length;
				says.textContent = `${count(n)} entries so far`;
			}
		}
		stop.hidden = false;
		try {
			save(await download({lines: lines(), columns: columns.chosen, format}), `log.${format}`);
			offer();
		} catch (error) {
			says.textContent = signal.aborted ? "stopped" : `the download failed: ${error.message}`;
		}
		stop.hidden = true;
	}
	element.addEventListener("click", ({target}) => {
		if (target.localName !== "button") return;
		controller?.abort();
		if (target.value) fetchFile(target.value);
	});
	return offer;
}
