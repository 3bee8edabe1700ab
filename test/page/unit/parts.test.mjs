// What the parts of the page work out: where an entry was refused, rates, ticks, and the
// lines of a download. None of it needs a document.
import assert from "node:assert/strict";
import test from "node:test";

import {position, refusedAt} from "../../../web/page/append.js";
import {download, field, records} from "../../../web/page/columns.js";
import {rates, sparkline} from "../../../web/page/status.js";
import {instant, iso, spanText, ticks} from "../../../web/page/time.js";

test("a byte of UTF-8 is found in a text of JavaScript", () => {
  const text = 'a"äß€😀z';
  for (const [c, begin, end] of [["a", 0, 1], ["ä", 2, 4], ["€", 6, 9], ["😀", 9, 13], ["z", 13, 14]]) {
    for (let byte = begin; byte < end; byte++) {
      const at = position(text, byte);
      assert.equal(text.slice(...at), c, `byte ${byte}`);
    }
  }
  assert.deepEqual(position(text, 14), [8, 8]);
  assert.deepEqual(position(text, 99), [8, 8]);
  assert.deepEqual(position("", 0), [0, 0]);
});

test("the byte of a refusal counts from the entry or from the text, as the error says", () => {
  const text = ' \n{"ä":1,"ä":2}';
  assert.deepEqual(refusedAt(text, 'not stored: duplicate member "ä" at byte 8 of the entry'), [9, 10]);
  assert.deepEqual(refusedAt(text, "not stored: invalid JSON: found 0x22 at byte 10, want a value"), [9, 10]);
  assert.deepEqual(refusedAt('{"a"', "not stored: invalid JSON: ends at byte 4, want ':'"), [4, 4]);
  assert.equal(refusedAt(text, "not stored: the disk is full"), null);
});

const stat = (more = {}) => ({store: "x", uptime: 10, appends: {entries: 100, bytes: 1000}, sync: {batches: 10, seconds: 1}, ...more});

test("rates are the differences of two answers", () => {
  const now = stat({uptime: 12, appends: {entries: 300, bytes: 5000}, sync: {batches: 14, seconds: 1.2}});
  const {entries, bytes, sync} = rates(stat(), now, 2);
  assert.deepEqual([entries, bytes, sync.toFixed(6)], [100, 2000, "0.050000"]);
  assert.deepEqual(rates(stat(), stat({uptime: 12}), 2), {entries: 0, bytes: 0, sync: null});
});

test("a server that was started again, or serves another log, gives no rate", () => {
  assert.equal(rates(stat(), stat({uptime: 1}), 2), null);
  assert.equal(rates(stat(), stat({uptime: 12, store: "y"}), 2), null);
  assert.equal(rates(stat(), stat({uptime: 12, appends: {entries: 1, bytes: 9}}), 2), null);
});

test("a chart has a gap where nothing is known", () => {
  const samples = [0, 30, null, 10, 20].map((value, i) => ({at: i * 10, value}));
  const {line, area} = sparkline(samples, 0, 40, 30);
  assert.equal(line, "M0 27.0L30 2.0M90 18.7L120 10.3");
  assert.equal(area, "M0 27.0L30 2.0V28H0ZM90 18.7L120 10.3V28H90Z");
  assert.deepEqual(sparkline([], 0, 40, 1), {line: "", area: ""});
});

test("a time keeps its microseconds", () => {
  for (const text of ["2026-11-28T09:00:00.000000Z", "2026-11-28T09:00:00.123456Z", "2026-02-28T23:59:59.999999Z"]) {
    assert.equal(iso(instant(text)), text);
  }
  assert.equal(iso(instant("2026-11-28T09:00:00Z")), "2026-11-28T09:00:00.000000Z");
  assert.equal(iso(instant("2026-11-28T09:00:00.5Z")), "2026-11-28T09:00:00.500000Z");
});

test("a span is written as finely as it needs, its day once", () => {
  const at = s => +new Date(s);
  assert.equal(spanText(at("2026-11-28T09:00:00"), at("2026-11-28T10:00:00"), 3.6e6), "2026-11-28 09:00 – 10:00");
  assert.equal(spanText(at("2026-11-28T09:00:00"), at("2026-11-29T10:00:10"), 10_000), "2026-11-28 09:00:00 – 2026-11-29 10:00:10");
  assert.equal(spanText(at("2026-11-28T09:00:00"), at("2026-11-28T09:00:00.005"), 5), "2026-11-28 09:00:00.000 – 09:00:00.005");
});

test("ticks are round, within the time, and few enough, from milliseconds to centuries", () => {
  const since = +new Date(2026, 9, 24, 17, 23, 41, 337); // summer time ends the next day in Europe
  for (let span = 1; span < 2e13; span *= 1.7) {
    const found = ticks(since, since + span, 10);
    assert.ok(found.length <= 11, `${found.length} ticks in ${span} ms`);
    if (span > 20) assert.ok(found.length > 0, `no ticks in ${span} ms`);
    found.forEach(({time}, i) => assert.ok(time >= since && time <= since + span && (!i || time > found[i - 1].time), `${span}: ${JSON.stringify(found)}`));
  }
  const labels = (...span) => ticks(...span.map(s => +new Date(s)), 10).map(t => t.label);
  assert.deepEqual(labels("2026-11-28T09:58:00", "2026-11-28T10:02:30"), ["09:58:00", "09:58:30", "09:59:00", "09:59:30", "10:00:00", "10:00:30", "10:01:00", "10:01:30", "10:02:00"]);
  assert.deepEqual(labels("2026-11-27T15:00:00", "2026-11-28T15:00:00"), ["15:00", "18:00", "21:00", "28 Nov", "03:00", "06:00", "09:00", "12:00"]);
  assert.deepEqual(labels("2026-11-27T15:00:00", "2026-12-03T15:00:00"), ["28 Nov", "29 Nov", "30 Nov", "1 Dec", "2 Dec", "3 Dec"]);
  assert.deepEqual(labels("2026-09-10T00:00:00", "2027-04-01T00:00:00"), ["Oct", "Nov", "Dec", "2027", "Feb", "Mar"]);
  assert.deepEqual(ticks(5, 5, 10), []);
});

async function* lines(...all) { yield* all; }
async function file(format, columns, ...all) {
  let text = "";
  for await (const record of records(lines(...all), columns, format)) text += record;
  return text;
}

test("NDJSON is the protocol's lines of the entries", async () => {
  const entries = ['{"index":1,"entry":{"n":1.00}}', '{"index":2,"error":"damaged"}'];
  assert.equal(await file("ndjson", [], ...entries, '{"at":2}', '{"head":2}'), entries.join("\n") + "\n");
});

test("CSV has the chosen members, whole numbers, and nothing that a spreadsheet would run", async () => {
  const text = await file("csv", ["user", "order.total", "=x"],
    '{"index":1,"time":"2026-11-28T09:00:00.000000Z","entry":{"order":{"total":-12345678901234567890.10},"user":"=1+1"}}',
    '{"index":2,"time":"T","entry":{"order":{"total":[1,"a"]},"user":"a \\"b\\",\\nc"}}',
    '{"index":3,"error":"damaged"}', '{"index":4,"time":"T","entry":5}', '{"head":4}');
  assert.equal(text, [
    "index,time,user,order.total,'=x",
    "1,2026-11-28T09:00:00.000000Z,'=1+1,-12345678901234567890.10,",
    '2,T,"a ""b"",\nc","[1,""a""]",',
    "3,,,,", "4,T,,,", "",
  ].join("\r\n"));
});

test("CSV without columns has the whole entry", async () => {
  assert.equal(await file("csv", [], '{"index":1,"entry":{"a":"x"}}', '{"index":2,"entry":"-x"}'), 'index,entry\r\n1,"{""a"":""x""}"\r\n2,"""-x"""\r\n');
});

test("a field that begins like a formula gets a quote, a number does not", () => {
  assert.deepEqual(["=1", "+1", "-1", "@a", "\tx", "a=1", ""].map(s => field(s)), ["'=1", "'+1", "'-1", "'@a", "\"'\tx\"", "a=1", ""]);
  assert.equal(field("-1", false), "-1");
  assert.deepEqual(["x;=1+1", "a\t=1"].map(s => field(s)), ['"x;=1+1"', '"a\t=1"'], "a spreadsheet may split there too");
});

test("a download is a Blob of every record", async () => {
  async function* many() {
    for (let i = 1; i <= 50_000; i++) yield `{"index":${i},"entry":{"text":"${"x".repeat(50)}"}}`;
  }
  const blob = await download({lines: many(), columns: [], format: "ndjson"}), text = await blob.text();
  assert.equal(text.split("\n").length, 50_001);
  assert.ok(text.startsWith('{"index":1,') && text.endsWith('"}}\n'));
});
