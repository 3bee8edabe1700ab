// What a row of the list shows.

import {bytes, make, visible} from "./text.js";

const SHOWN = 500; // characters of an entry
const TOKEN = /("(?:[^"\\]|\\.)*(?:"|$))(:?)|(-?\d[\d.eE+-]*|true|false|null)|(,)/g;

const two = n => String(n).padStart(2, "0");
const year = new Date().getFullYear();

// clock is a time in the list: the day, and the time of the day, local.
export function clock(time) {
  if (!time) return ["", "–"];
  const d = new Date(time);
  const day = `${two(d.getMonth() + 1)}-${two(d.getDate())}`, minute = `${two(d.getHours())}:${two(d.getMinutes())}`;
  if (d.getFullYear() !== year) return [`${d.getFullYear()}-${day}`, minute];
  return [day, `${minute}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`];
}

// highlight appends JSON to element, its parts apart so that they can have colours. Each string is a part of its
// own, so that one written from right to left does not move what follows.
export function highlight(element, text) {
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    const [all, string, colon, scalar] = found;
    if (found.index > at) element.append(text.slice(at, found.index));
    element.append(make("span", string ? colon ? "k" : "s" : scalar ? "n" : "c", all));
    at = found.index + all.length;
  }
  if (at < text.length) element.append(text.slice(at));
}

// fillRow fills a row. columns is null, or {chosen, cells}.
export function fillRow(row, entry, index, columns) {
  const time = make("span", "time");
  row.className = "row";
  row.replaceChildren(make("span", "index", String(index)), time);
  row.removeAttribute("title");
  if (!entry) {
    row.classList.add("absent");
    row.append(make("span", "text"));
    return;
  }
  if (entry.error) {
    row.classList.add("damaged");
    row.append(make("span", "text", `damaged: ${visible(entry.error)}`));
    return;
  }
  const [day, minute] = clock(entry.time);
  time.append(make("span", "day", day), minute);
  if (columns) {
    for (const cell of entry.cells ?? columns.cells(entry.text)) row.append(make("span", "cell", cell));
    return;
  }
  const text = make("span", "text");
  highlight(text, visible(entry.text.slice(0, SHOWN)));
  row.append(text);
  if (entry.text.length > SHOWN) {
    text.append("…");
    row.append(make("span", "size", bytes(entry.length)));
  }
}
