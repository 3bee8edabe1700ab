// The page's json.js: what does not need a document.
import assert from "node:assert/strict";
import test from "node:test";

import {find, parse} from "../../../web/page/json.js";

// rebuild writes a parsed value without its text, so that nothing but the structure is tested.
function rebuild(node) {
  if (node.members) return "{" + node.members.map(m => JSON.stringify(m.name) + ":" + rebuild(m.value)).join() + "}";
  if (node.items) return "[" + node.items.map(rebuild).join() + "]";
  return node.text;
}

for (const text of [
  "{}", "[]", "null", "true", "-0", '""', '"a\\"b"', '"\\\\"', '"\\\\\\""',
  "12345678901234567890.000", "1E400", "-0.5e-7",
  '{"b":1,"a":{"__proto__":[]},"":[[],{}]}', '[1,[2,[3,{"x":[4]}]],"]}"]',
  '{"2":0,"1":0}',
]) {
  test(`nothing of ${text} is lost`, () => {
    assert.equal(rebuild(parse(text)), text);
    assert.equal(parse(text).text, text);
    assert.equal(rebuild(parse(` ${text}\r\n\t`)), text);
  });
}

for (const text of ["", " ", "{", "[1", "[1,", "[1,]", "{}}", "1 2", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", '"', '"\\"', '"\\x"', '"\n"',
  "tru", "+1", "01", "1.", ".5", "-", "NaN", "[1}", '{"a":1]', "undefined"]) {
  test(`${JSON.stringify(text)} is not JSON`, () => assert.throws(() => parse(text), SyntaxError));
}

test("an error says what was found where", () => {
  assert.throws(() => parse('{"a":1;}'), {message: 'not JSON: found ";" at character 6, want "," or "}"'});
  assert.throws(() => parse("[1"), {message: 'not JSON: found the end at character 2, want "," or "]"'});
});

test("each value has its own text", () => {
  const node = parse('{"a": [1.0, {"b" :2}]}');
  assert.equal(find(node, ["a"]).text, '[1.0, {"b" :2}]');
  assert.equal(find(node, ["a", 1]).text, '{"b" :2}');
  assert.equal(find(node, ["a", 0]).text, "1.0");
  assert.equal(find(node, ["a", 1, "b"]).type, "number");
});

test("what is not there is undefined", () => {
  const node = parse('{"a":[1],"toString":2}');
  for (const path of [["b"], ["a", 1], ["a", "length"], ["a", 0, "x"], ["__proto__"], ["constructor"]]) {
    assert.equal(find(node, path), undefined, path.join());
  }
  assert.equal(find(node, ["toString"]).text, "2");
});

test("levels cost no stack", () => {
  const levels = 200000, node = parse("[".repeat(levels) + "]".repeat(levels));
  assert.equal(node.text.length, 2 * levels);
});

test("a string of backslashes takes no longer than another", () => {
  const text = JSON.stringify('\\"'.repeat(1 << 20));
  assert.equal(parse(text).value.length, 2 << 20);
});
