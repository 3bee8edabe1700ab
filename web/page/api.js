// Requests to the server, and the lines of its answers: docs/HTTP.md.

let unauthorized = () => {};
export const whenUnauthorized = f => { unauthorized = f; };

export function address(path, parameters) {
	const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
	return `${path}?${new URLSearchParams(given)}`;
}

// request throws an error that has a status if the server has answered.
export async function request(path, options = {}) {
	const response = await fetch(path, {cache: "no-store", ...options});
	if (response.ok) return response;
	const text = await response.text();
	let error = `the server answered with status ${response.status}`;
	try {
		error = JSON.parse(text).error ?? error;
	} catch { /* what stands between the page and the server need not answer with JSON */ }
	if (response.status === 401 && path !== "session") unauthorized();
	throw Object.assign(new Error(error), {status: response.status});
}

export const json = async path => (await request(path)).json();

// post returns the answer whatever its status.
export async function post(path, text) {
	const response = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: text});
	const body = await response.json().catch(() => null);
	if (response.status === 401 && path !== "session") unauthorized();
	return {status: response.status, body};
}

// batches yields lines as they arrive. A last one without its newline was cut off, and is dropped.
export async function* batches(response) {
	const reader = response.body.getReader(), decoder = new TextDecoder("utf-8", {ignoreBOM: true});
	let open = []; // pieces of a line
	try {
		for (;;) {
			const {done, value} = await reader.read();
			if (done) return;
			const all = decoder.decode(value, {stream: true}).split("\n");
			if (all.length > 1) {
				all[0] = open.join("") + all[0];
				open = [];
			}
			open.push(all.pop());
			yield all;
		}
	} finally {
		reader.cancel().catch(() => {});
	}
}

// read throws if the answer is not whole.
export async function* read(parameters, signal) {
	let last = "";
	for await (const lines of batches(await request(address("entries", parameters), {signal}))) {
		last = lines.at(-1) ?? last;
		yield lines;
	}
	if (!last.startsWith('{"head":')) throw new Error("the answer broke off");
}

const LINE = /^\{"index":(\d+)(?:,"time":("[^"]*"|null))?(?:,"hash":"([0-9a-f]{64})")?,"entry":/;

// entryOf returns {index, time, hash, text}, {index, error} or null. text is to be hashed: it must not be parsed and written again.
export function entryOf(line) {
	const found = LINE.exec(line);
	if (found) {
		return {
			index: Number(found[1]), time: found[2] && found[2] !== "null" ? found[2].slice(1, -1) : null, hash: found[3],
			text: line.slice(found[0].length, -1),
		};
	}
	if (!line.startsWith('{"index":')) return null;
	const {index, error} = JSON.parse(line);
	return {index, error: error ?? "the line cannot be read"};
}
