// The page's filter.js and goto.js: what somebody writes.
import assert from "node:assert/strict";
import test from "node:test";

import {parseFilter, term} from "../../../web/page/filter.js";
import {destination, timeOf} from "../../../web/page/goto.js";

for (const [text, want] of [
  ["", ""], [" , ", ""],
  ['user = "ann"', '{"user":"ann"}'],
  ["user=ann", '{"user":"ann"}'],
  ["a=1 b=2, c = 3", '{"a":1,"b":2,"c":3}'],
  ["order.total = 9.50 order.state = paid", '{"order":{"total":9.50,"state":"paid"}}'],
  ["n = 12345678901234567890.0", '{"n":12345678901234567890.0}'],
  ["a = true b = null c = -0.5e3 d = 01 e = truer", '{"a":true,"b":null,"c":-0.5e3,"d":"01","e":"truer"}'],
  ['"a.b"."c d" = "x = y, z"', '{"a.b":{"c d":"x = y, z"}}'],
  ['a = "\\"" b = 1', '{"a":"\\"","b":1}'],
  ['a = {"b": [1, "}"]} c = []', '{"a":{"b": [1, "}"]},"c":[]}'],
  ["__proto__.x = 1", '{"__proto__":{"x":1}}'],
]) {
  test(`the filter ${text} is ${want}`, () => assert.equal(parseFilter(text), want));
}

for (const [text, want] of [
  ["user", /want “=” and a value after “user”/], ["= 1", /want the name of a member/], ["a =", /want a value after/],
  ['a = "b', /want a closing quote/], ['"a = 1', /want a closing quote/], ["a = [1", /want a closing bracket/], ["a.=1", /want the name of a member after “a\.”/],
  ["a=1 a=2", /“a” has two values/], ["a=1 a.b=2", /“a” has two values/], ["a.b=1 a=2", /“a” has two values/], ["a = {b}", /not JSON/],
]) {
  test(`the filter ${text} is refused`, () => assert.throws(() => parseFilter(text), want));
}

test("a member that is added to a filter is read as it was", () => {
  for (const path of [["a"], ["a", "b"], ["a.b", "c d", "=", ""]]) {
    assert.equal(parseFilter(term(path, '"x y"')), path.reduceRight((value, name) => `{${JSON.stringify(name)}:${value}}`, '"x y"'));
  }
});

test("a time as it is written", () => {
  const local = (...of) => new Date(...of).toISOString(), now = new Date(), today = [now.getFullYear(), now.getMonth(), now.getDate()];
  assert.equal(timeOf("2026-11-28T09:00:00.123456Z"), "2026-11-28T09:00:00.123456Z");
  assert.equal(timeOf("2026-11-28T09:00:00+02:00"), "2026-11-28T09:00:00+02:00");
  assert.equal(timeOf("2026-11-28 09:00"), local(2026, 10, 28, 9));
  assert.equal(timeOf("2026-11-28"), local(2026, 10, 28));
  assert.equal(timeOf("9:05"), local(...today, 9, 5));
  assert.equal(timeOf("09:05:07"), local(...today, 9, 5, 7));
});

test("a time that is so long ago", () => {
  for (const [text, ms] of [["10 min ago", 6e5], ["90s", 9e4], ["1.5 h ago", 54e5], ["2 days ago", 1728e5], ["3 Hours", 108e5]]) {
    const at = new Date(timeOf(text)), by = Date.now() - ms - at;
    assert.ok(by >= 0 && by < 5000, `${text} is ${by} ms away`);
  }
});

test("what is no time", () => {
  for (const text of ["", "nonsense", "2026", "2026-13-45", "25h:00", "10 apples", "now"]) assert.equal(timeOf(text), null, text);
});

test("where an index leads", async () => {
  assert.deepEqual(await destination("1,234", 2000), [1234, ""]);
  assert.deepEqual(await destination("0", 9), [1, "There is no entry 0: the log has 1 to 9."]);
  assert.deepEqual(await destination("10", 9), [9, "There is no entry 10: the log has 1 to 9."]);
  assert.equal((await destination("1", 0))[0], null);
  assert.match((await destination("nonsense", 9))[1], /“nonsense” is neither/);
});
