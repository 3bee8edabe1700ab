// Members of entries as columns of a table, and the download of what is shown.

import {find, parse} from "./json.js";
import {make, visible} from "./text.js";

const KEPT = "columns";          // in localStorage
const SUGGESTED = 200, LARGE = 32 << 10; // members at most, of entries of so many characters at most
const WIDE = 300;                // characters of a cell

// A path is written as in --where of the commands: a dot goes one level down.
const steps = path => path.split(".");

// scalars adds the paths of an entry's values to found, three levels down.
function scalars(node, path, found) {
  for (const {name, value} of node.members ?? []) {
    if (found.size >= SUGGESTED) return;
    if (name === "" || name.includes(".")) continue;
    const inner = [...path, name];
    if (value.members && inner.length < 3) scalars(value, inner, found);
    else found.add(inner.join("."));
  }
}

// columns keeps which members are chosen, also for the next visit. chooser is an element to choose
// them with, see(entryText) adds its members to the suggestions, cells(entryText) are the texts of
// an entry's chosen members, and onChange(chosen) is told of each change.
export function columns({onChange}) {
  const result = {chosen: load(), chooser: make("div", "chooser"), see, cells, set};
  const list = make("ul"), form = make("form"), input = make("input"), names = make("datalist"), add = make("button", "", "add");
  names.id = "column-names";
  input.setAttribute("list", names.id);
  [input.placeholder, input.autocomplete, input.spellcheck, input.ariaLabel] = ["member, such as order.total", "off", false, "member to show as a column"];
  form.append(input, names, add);
  form.onsubmit = event => {
    event.preventDefault();
    const path = input.value.trim();
    if (path && !result.chosen.includes(path)) set([...result.chosen, path]);
    input.value = "";
    input.focus();
  };
  result.chooser.append(list, form);

  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT));
      return Array.isArray(kept) ? kept.filter(path => typeof path === "string") : [];
    } catch {
      return []; // there is no storage, or something else in it
    }
  }

  function set(paths) {
    result.chosen = [...paths];
    try {
      localStorage.setItem(KEPT, JSON.stringify(paths));
    } catch { /* then they hold for this visit */ }
    render();
    onChange?.(result.chosen);
  }

  // button returns one that does with the columns what move does with a copy of them.
  function button(text, label, move) {
    const b = make("button", "", text);
    [b.type, b.title, b.ariaLabel] = ["button", label, label];
    b.onclick = () => {
      const paths = [...result.chosen];
      move(paths);
      set(paths);
    };
    return b;
  }

  function render() {
    list.replaceChildren(...result.chosen.map((path, i) => {
      const chip = make("li");
      if (i) chip.append(button("‹", `move ${path} to the left`, paths => paths.splice(i - 1, 2, paths[i], paths[i - 1])));
      chip.append(make("span", "name", visible(path)), button("×", `do not show ${path}`, paths => paths.splice(i, 1)));
      return chip;
    }));
    list.hidden = !result.chosen.length;
  }
  render();

  const seen = new Set();
  let looked = -Infinity;
  function see(entryText) {
    const now = performance.now();
    if (entryText.length > LARGE || seen.size >= SUGGESTED || now - looked < 200 && seen.size > 20) return;
    looked = now;
    const before = seen.size;
    scalars(parse(entryText), [], seen);
    if (seen.size === before) return;
    names.replaceChildren(...[...seen].sort().map(path => {
      const option = make("option");
      option.value = path;
      return option;
    }));
  }

  function cells(entryText) {
    const entry = parse(entryText);
    return result.chosen.map(path => {
      const node = find(entry, steps(path));
      return node ? visible((node.value ?? node.text).slice(0, WIDE)) : "";
    });
  }
  return result;
}

// field is a text as a field of CSV: RFC 4180. What a spreadsheet would take for a formula begins with a quote.
export function field(text, isText = true) {
  if (isText && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// records turns the protocol's lines, an async iterable, into those of a file, "ndjson" or
// "csv": one an entry. In CSV each has the index, time and hash if the first has them, and the columns, or without columns the
// whole entry; a damaged one has only its index.
export async function* records(lines, columns, format) {
  let before; // the members ahead of the entry
  for await (const line of lines) {
    if (!line.startsWith('{"index":')) continue; // the head, or how far the read is
    if (format === "ndjson") {
      yield line + "\n";
      continue;
    }
    const node = parse(line), entry = find(node, ["entry"]);
    if (!before) {
      before = ["index", "time", "hash"].filter(name => find(node, [name]));
      yield [...before, ...columns.length ? columns : ["entry"]].map(name => field(name)).join() + "\r\n";
    }
    const cell = value => value ? field(value.value ?? value.text, value.type === "string") : "";
    yield [
      ...before.map(name => cell(find(node, [name]))),
      ...columns.length ? columns.map(path => cell(entry && find(entry, steps(path)))) : [entry ? field(entry.text, entry.type === "string") : ""],
    ].join() + "\r\n";
  }
}

// download makes a Blob of lines. It holds a MiB of text; what is before that is the browser's to keep.
export async function download({lines, columns, format}) {
  const type = format === "csv" ? "text/csv;charset=utf-8" : "application/x-ndjson";
  const parts = [];
  let text = "";
  for await (const record of records(lines, columns, format)) {
    text += record;
    if (text.length < 1 << 20) continue;
    parts.push(new Blob([text]));
    text = "";
  }
  return new Blob([...parts, text], {type});
}

// save has the browser save blob as a file.
export function save(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
