// Reads JSON without losing a digit of a number or the order of members, and shows it as a tree.

import {count, make, show, visible} from "./text.js";

const SPACE = /[ \t\r\n]*/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const CLOSE = {object: "}", array: "]"};

// parse returns {type, text, …}, where text is the value's own JSON. An "object" has
// members [{name, value}], an "array" has items, a "string" has its value; the types "number",
// "true", "false" and "null" have no more than their text. It does not recurse, so levels
// cost no stack.
export function parse(text) {
  let at = 0, root, name;
  const open = []; // the objects and arrays around at
  const fail = want => {
    throw new SyntaxError(`not JSON: found ${at < text.length ? JSON.stringify(text[at]) : "the end"} at character ${at}, want ${want}`);
  };
  const match = what => {
    what.lastIndex = at;
    const [found] = what.exec(text) ?? [""];
    at += found.length;
    return found;
  };
  const string = () => {
    const start = at;
    for (let escaped = true; escaped;) {
      at = text.indexOf('"', at + 1);
      if (at < 0) {
        at = text.length;
        fail('"');
      }
      let before = at;
      while (text[before - 1] === "\\") before--;
      escaped = (at - before) % 2 === 1;
    }
    const raw = text.slice(start, ++at);
    return {type: "string", text: raw, value: JSON.parse(raw)};
  };
  const memberName = () => {
    match(SPACE);
    if (text[at] !== '"') fail("the name of a member");
    name = string().value;
    match(SPACE);
    if (text[at] !== ":") fail('":"');
    at++;
  };
  const value = () => {
    match(SPACE);
    switch (text[at]) {
      case "{": return {type: "object", text: "", members: [], start: at++};
      case "[": return {type: "array", text: "", items: [], start: at++};
      case '"': return string();
    }
    const found = match(SCALAR) || fail("a value");
    return {type: /[a-z]/.test(found[0]) ? found : "number", text: found};
  };
  for (;;) {
    const node = value(), around = open.at(-1);
    if (!around) root = node;
    else if (around.members) around.members.push({name, value: node});
    else around.items.push(node);
    if (node.type in CLOSE) {
      open.push(node);
      match(SPACE);
      if (text[at] !== CLOSE[node.type]) {
        if (node.members) memberName();
        continue;
      }
    }
    // What ends here, up to the next comma.
    for (match(SPACE); open.length && text[at] === CLOSE[open.at(-1).type]; match(SPACE)) {
      const ended = open.pop();
      ended.text = text.slice(ended.start, ++at);
    }
    if (!open.length) {
      if (at < text.length) fail("the end");
      return root;
    }
    if (text[at] !== ",") fail(`"," or "${CLOSE[open.at(-1).type]}"`);
    at++;
    if (open.at(-1).members) memberName();
  }
}

// find returns what node, from parse, has at path, an array of names and of indices, or undefined.
export function find(node, path) {
  for (const step of path) {
    node = node?.items ? (/^\d+$/.test(step) ? node.items[step] : undefined) : node?.members?.find(m => m.name === step)?.value;
  }
  return node;
}

const SHOWN = 100;    // members shown at first, and rows that are unfolded from the beginning
const CUT = 1000;     // characters of a string, until more are asked for
const LOT = 1 << 20;  // characters that are then added at once
const INDENTED = 12;  // levels; those below move less
const UNFOLDED = 5;   // levels that are unfolded from the beginning

// tree returns an element that shows text, JSON, as a tree to fold: by mouse, or by the
// arrows, Home and End. onValue(path, jsonText) is called when a value is chosen.
export function tree(text, {onValue} = {}) {
  const root = make("div", "tree");
  root.setAttribute("role", "tree");
  root.setAttribute("aria-label", "entry");
  const rows = new WeakMap(); // of an item: {node, path, group, unfold, act}

  // item returns the row of node, which path leads to.
  function item(node, path) {
    const element = make("div", "item"), line = make("div", "line");
    const size = (node.members ?? node.items)?.length;
    element.setAttribute("role", "treeitem");
    element.setAttribute("aria-level", path.length + 1);
    element.tabIndex = -1;
    element.append(line);
    line.append(make("span", "twist"));
    if (path.length) {
      const name = make("span", typeof path.at(-1) === "number" ? "name index" : "name");
      show(name, String(path.at(-1)));
      line.append(name, make("span", "colon", ":"));
    }
    let about;
    if (size === undefined) {
      line.append(...scalar(node));
      about = visible(node.text.slice(0, CUT));
      rows.set(element, {node, path, act: onValue && (() => onValue(path, node.text))});
    } else {
      const [left, right, one, more] = node.members ? ["{", "}", "member", "members"] : ["[", "]", "item", "items"];
      about = `${count(size)} ${size === 1 ? one : more}`;
      line.append(make("span", "size", size ? `${left} ${about} ${right}` : left + right));
      if (size) {
        const group = make("div", path.length < INDENTED ? "group" : "group deep");
        group.setAttribute("role", "group");
        group.hidden = true;
        element.append(group);
        element.setAttribute("aria-expanded", "false");
        rows.set(element, {node, path, group});
      } else rows.set(element, {node, path});
    }
    element.setAttribute("aria-label", path.length ? `${visible(String(path.at(-1)))}: ${about}` : about);
    return element;
  }

  // scalar returns what shows a value that has no members.
  function scalar(node) {
    const value = make("span", `value ${node.type}`);
    if (onValue) value.title = "filter by this value";
    const {length} = node.text, button = make("button", "more");
    let end = 0;
    const extend = by => {
      const begin = end;
      end = Math.min(begin + by, length);
      if (/[\ud800-\udbff]/.test(node.text[end - 1])) end--; // half a character
      show(value, node.text.slice(begin, end));
      button.textContent = length - end <= LOT ? `… show all ${count(length)} characters` : `… show ${count(LOT)} more of ${count(length)} characters`;
      if (end === length) button.remove();
    };
    button.type = "button";
    button.onclick = () => extend(LOT);
    extend(length <= 2 * CUT ? length : CUT);
    return end < length ? [value, button] : [value];
  }

  // fill adds the next members of an unfolded item, and a row for more if there are more.
  function fill({node, path, group}) {
    const members = node.members ?? node.items, begin = group.childElementCount;
    const size = Math.min(Math.max(SHOWN, begin), 10 * SHOWN);
    const added = members.slice(begin, begin + size).map((m, i) => node.members ? item(m.value, [...path, m.name]) : item(m, [...path, begin + i]));
    group.append(...added);
    const left = members.length - begin - added.length;
    if (left > 0) {
      const more = make("div", "item"), label = `show more: ${count(left)} are left`;
      more.setAttribute("role", "treeitem");
      more.setAttribute("aria-level", path.length + 2);
      more.tabIndex = -1;
      more.append(make("div", "line more", label));
      rows.set(more, {act() {
        more.remove();
        const [first] = fill({node, path, group});
        focus(first);
      }});
      group.append(more);
    }
    return added;
  }

  // fold folds or unfolds an item, and returns the items that are new.
  function fold(element, open) {
    const row = rows.get(element);
    element.setAttribute("aria-expanded", open);
    row.group.hidden = !open;
    return open && !row.group.childElementCount ? fill(row) : [];
  }
  const isOpen = element => element.getAttribute("aria-expanded") === "true";

  let current; // the item that Tab comes to
  function focus(element) {
    if (!element) return;
    if (current) current.tabIndex = -1;
    current = element;
    current.tabIndex = 0;
    current.focus();
  }

  root.addEventListener("click", event => {
    const element = event.target.closest("[role=treeitem]"), row = element && rows.get(element);
    if (!row || event.target.closest("button") || String(getSelection())) return; // selecting text is no click
    focus(element);
    if (row.group) {
      if (event.target.closest(".line")?.parentElement === element) fold(element, !isOpen(element));
    } else if (row.node === undefined || event.target.closest(".value")) row.act?.();
  });

  root.addEventListener("keydown", event => {
    const row = rows.get(event.target);
    if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
    const seen = () => [...root.querySelectorAll("[role=treeitem]:not([hidden] *)")];
    const step = by => { const all = seen(); return all[all.indexOf(event.target) + by]; };
    switch (event.key) {
      case "ArrowDown": focus(step(1)); break;
      case "ArrowUp": focus(step(-1)); break;
      case "Home": focus(root.firstElementChild); break;
      case "End": focus(seen().at(-1)); break;
      case "ArrowRight":
        if (row.group && !isOpen(event.target)) fold(event.target, true);
        else if (row.group) focus(row.group.firstElementChild);
        break;
      case "ArrowLeft":
        if (row.group && isOpen(event.target)) fold(event.target, false);
        else focus(event.target.parentElement.closest("[role=treeitem]"));
        break;
      case "Enter": case " ":
        if (row.group) fold(event.target, !isOpen(event.target));
        else row.act?.();
        break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation(); // the page has keys too
  });

  current = item(parse(text), []);
  current.tabIndex = 0;
  root.append(current);
  if (onValue) root.classList.add("choosing");
  // Unfold from the top down while there is room.
  let room = SHOWN;
  for (const queue = [current]; queue.length;) {
    const element = queue.shift(), {node, path, group} = rows.get(element), size = (node.members ?? node.items)?.length;
    if (!group || path.length && (size > room || path.length >= UNFOLDED)) continue;
    queue.push(...fold(element, true));
    room -= size;
  }
  return root;
}
