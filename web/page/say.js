// What the page tells: notes to all, and the rest to those who do not see it.

import {$, count} from "./text.js";

const HEARD = 15_000; // ms between two counts of what is new

let newest = 0, heard = 0, hearing = 0, noted = 0;

export function say(text) {
	$("say").textContent = text;
	setTimeout(() => { $("say").textContent = ""; }, 3000);
}

export function hear(head) {
	newest = head;
	if ($("say").textContent) return;
	hearing ||= setTimeout(() => {
		hearing = 0;
		if (heard && newest > heard) say(`${count(newest - heard)} new`);
		heard = newest;
	}, HEARD);
}

export function note(text) {
	clearTimeout(noted);
	$("note").textContent = text;
	$("note").hidden = !text;
	noted = setTimeout(() => { $("note").hidden = true; }, 8000);
}
