// The page's text.js: what does not need a document.
import assert from "node:assert/strict";
import test from "node:test";

import {bytes, count, duration, visible} from "../../../web/page/text.js";

test("what would not show is escaped, and stays JSON of the same value", () => {
  const value = "\u0000\u001b[31m\u007f\u009b\u061c\u200b\u200e\u202e\u2028\u2066\ufeff\u{e0041}\u{f0000}\ud800 \n\t";
  assert.equal(visible(value), "\\u0000\\u001b[31m\\u007f\\u009b\\u061c\\u200b\\u200e\\u202e\\u2028\\u2066\\ufeff\\udb40\\udc41\\udb80\\udc00\\ud800 \\n\\t");
  assert.equal(JSON.parse(visible(JSON.stringify(value))), value);
});

test("what shows stays as it is", () => {
  for (const text of ["", "plain", "äöü 日本 שלום", "👨‍👩‍👧", "می‌خواهم", "<script>"]) assert.equal(visible(text), text);
});

test("numbers, bytes and times for people", () => {
  assert.deepEqual([0, 0.25, 7, 42.16, 123.4, 1234567].map(count), ["0", "0.3", "7", "42.2", "123", "1,234,567"]);
  assert.deepEqual([0, 1023, 1024, 1536, 5e9, 3e15].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "4.7 GiB", "2728.5 TiB"]);
  assert.deepEqual([0, 4.2e-5, 0.0014, 0.25, 1.5, 59.96, 60, 125, 3600, 7384, 86400 * 3 + 4 * 3600 + 59].map(duration),
    ["0 µs", "42 µs", "1.4 ms", "250 ms", "1.5 s", "60 s", "1 min", "2 min 5 s", "1 h", "2 h 3 min", "3 d 4 h"]);
});
