// How the page writes things: text from outside, numbers, bytes, times. Everything is put in as text.

// UNSEEN are the characters that would not show, or would turn the order of others: those
// of control and of format, and those that no font has. The two joiners shape letters.
const UNSEEN = /(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu;
const SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"};

function escape(c) {
  return SHORT[c] ?? Array.from({length: c.length}, (_, i) => "\\u" + c.charCodeAt(i).toString(16).padStart(4, "0")).join("");
}

// visible is text with what would not show escaped as JSON does: JSON stays JSON of the same value.
export function visible(text) { return text.replace(UNSEEN, escape); }

// show appends text to element, what would not show as marked escapes.
export function show(element, text) {
  let at = 0;
  for (const found of text.matchAll(UNSEEN)) {
    element.append(text.slice(at, found.index), make("span", "unseen", escape(found[0])));
    at = found.index + found[0].length;
  }
  element.append(text.slice(at));
}

// make returns a new element.
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

// draw returns a new element of SVG.
export function draw(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// count is a number for people: 1,234,567, or 4.2 while it is small.
export function count(n) { return n.toLocaleString("en", {maximumFractionDigits: n < 100 ? 1 : 0}); }

// bytes is a number of bytes in the unit that suits it, as the commands write it.
export function bytes(n) {
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (n < 1024) break;
    [unit, n] = [next, n / 1024];
  }
  return unit === "B" ? `${Math.round(n)} B` : `${n.toFixed(1)} ${unit}`;
}

// duration is seconds in the two units that suit it: 3 d 4 h, 2 min 5 s, 1.4 ms.
export function duration(s) {
  if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(s < 0.1 ? 1 : 0)} ms`;
  if (s < 60) return `${count(s)} s`;
  s = Math.round(s);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]], first = units.findIndex(([, size]) => s >= size);
  return units.slice(first, first + 2).map(([unit, size], i) => [Math.floor(i ? s % units[first][1] / size : s / size), unit])
    .filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(" ");
}
