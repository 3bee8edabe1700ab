// A form that appends an entry, and shows a refusal at its byte.

import {bytes, count, make, show} from "./text.js";

const AROUND = 40; // characters shown before and after a refused one

// position is where the byte, counted from 0 in UTF-8, lies in text: [begin, end) in characters of
// JavaScript. At or after the end of the text both are its length.
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

// refusedAt is where the error says that text was refused, as position has it, or null. A byte "of the
// entry" counts from where the entry begins.
export function refusedAt(text, error) {
  const found = / at byte (\d+)( of the entry)?/.exec(error);
  if (!found) return null;
  const before = found[2] ? /^[ \t\r\n]*/.exec(text)[0].length : 0;
  return position(text, before + Number(found[1]));
}

// appendForm fills element, a form. post(text) has {status, body}, with body parsed. maxEntry is the
// limit in bytes, or returns it.
export function appendForm(element, {post, maxEntry}) {
  const area = make("textarea"), send = make("button", "", "append"), size = make("span", "size"), says = make("div", "says");
  [area.rows, area.spellcheck, area.placeholder, area.ariaLabel] = [4, false, '{"user":"ann","amount":5}', "entry to append, JSON"];
  send.title = "Ctrl+Enter";
  says.setAttribute("role", "status");
  const row = make("div", "row");
  row.append(send, make("kbd", "", "Ctrl Enter"), size);
  element.classList.add("append");
  element.replaceChildren(area, row, says);

  const encoder = new TextEncoder();
  const limit = () => typeof maxEntry === "function" ? maxEntry() : maxEntry;
  function measure() {
    const n = encoder.encode(area.value).length, most = limit();
    size.textContent = area.value ? (n < 1024 ? `${n} B` : bytes(n)) + (n > most ? `, more than the ${bytes(most)} that an entry may have` : "") : "";
    size.classList.toggle("bad", n > most);
  }
  area.oninput = () => {
    measure();
    says.replaceChildren();
  };

  function refused(text, error) {
    says.replaceChildren(make("p", "bad", error));
    const found = refusedAt(text, error);
    if (!found) return;
    const [begin, end] = found;
    const before = text.slice(Math.max(0, begin - AROUND), begin), after = text.slice(end, end + AROUND);
    const excerpt = make("pre"), mark = make("mark");
    if (begin > AROUND) excerpt.append("…");
    show(excerpt, before);
    show(mark, text.slice(begin, end) || "⟨end⟩");
    excerpt.append(mark);
    show(excerpt, after);
    if (end + AROUND < text.length) excerpt.append("…");
    says.append(excerpt);
    area.focus();
    area.setSelectionRange(begin, end);
  }

  async function submit() {
    const text = area.value;
    if (!text.trim() || send.disabled) return;
    send.disabled = true;
    says.replaceChildren(make("p", "", "…"));
    try {
      const {status, body} = await post(text);
      if (status === 200 || status === 201) {
        const link = make("a", "", count(body.index)), p = make("p", "ok", "stored as ");
        link.href = `#/${body.index}`;
        p.append(link);
        says.replaceChildren(p);
      } else refused(text, body?.error ?? `the server answered with status ${status}`);
    } catch (error) {
      // The request may have arrived before the connection broke.
      says.replaceChildren(make("p", "bad", `outcome unknown: the entry may or may not be stored (${error.message})`));
    } finally {
      send.disabled = false;
    }
  }
  element.addEventListener("submit", event => {
    event.preventDefault();
    submit();
  });
  area.addEventListener("keydown", event => {
    if (event.key !== "Enter" || !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    submit();
  });
}
