// Logging in and out: a token is traded for a cookie that no script can read.

import {post, request} from "./api.js";

export function logIn(form, out, changed) {
	const says = form.querySelector("[role=alert]"), token = form.querySelector("input");
	form.onsubmit = async event => {
		event.preventDefault();
		says.textContent = "";
		try {
			const {status, body} = await post("session", JSON.stringify({token: token.value.trim()}));
			if (status === 204) {
				token.value = "";
				return changed();
			}
			says.textContent = status === 401 ? "The server does not know this token." : body?.error ?? `The server answered with status ${status}.`;
		} catch (error) {
			says.textContent = `The server cannot be reached: ${error.message}`;
		}
		token.select();
	};
	out.onclick = async () => {
		await request("session", {method: "DELETE"}).catch(() => {});
		changed();
	};
}
