// Reads JSON without losing a digit or the order of members, and shows it as a tree.
// parse returns {type, text, …}: type "object" has members [{name, value}], "array" items,
// "string" value (decoded); "number", "true", "false" and "null" have only their text.
export function parse(text) { throw new Error("to come"); }

// visible is text with its control and bidi characters made visible, for a text node.
export function visible(text) { return text; }

// tree is text as a folding tree. onValue(path, jsonText) is called for a chosen scalar.
export function tree(text, {onValue} = {}) {
  const pre = document.createElement("pre");
  pre.textContent = text;
  return pre;
}
