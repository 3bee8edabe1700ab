// What somebody writes who wants to go to a time.

import {read} from "./api.js";

// timeOf is a time in ISO: as in the protocol with its microseconds, local, of today, or so long ago. It is null if text is none.
export function timeOf(text) {
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(text)) return text; // with its microseconds
  const ago = /^(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)\w*(?:\s+ago)?$/i.exec(text), today = /^\d\d?:\d\d(:\d\d)?$/.test(text);
  if (!ago && !today && !/^\d{4}-\d\d?-\d\d?/.test(text)) return null;
  const d = new Date();
  if (today) d.setHours(...text.split(":"), ...text.split(":").length < 3 ? [0, 0] : [0]);
  const at = ago ? Date.now() - ago[1] * {s: 1e3, m: 6e4, h: 36e5, d: 864e5}[ago[2][0].toLowerCase()] : today ? d.getTime()
    : new Date(text.length < 11 ? `${text} 00:00` : text).getTime();
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}

// firstSince is the index of the first entry of a time or later, 0 if there is none.
export async function firstSince(time) {
  for await (const lines of read({since: time, read: 1})) {
    for (const line of lines) {
      if (line.startsWith('{"index":')) return JSON.parse(line.replace(/,"entry":.*/, "}")).index;
    }
  }
  return 0;
}
