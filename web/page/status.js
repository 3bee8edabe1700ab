// The state of the server: what it holds, and as small charts what it does.

import {bytes, count, draw, duration, make} from "./text.js";

const EVERY = 2000, SPAN = 120_000; // ms between two questions, and that a chart shows
const WIDTH = 120, HEIGHT = 28;     // of a chart

// rates says what the server did between two answers of GET /stat, so many seconds
// apart: entries, bytes, and seconds a sync took, null if there was none. It is null if the server has
// begun to count again.
export function rates(before, now, seconds) {
  const entries = now.appends.entries - before.appends.entries, written = now.appends.bytes - before.appends.bytes;
  const batches = now.sync.batches - before.sync.batches, busy = now.sync.seconds - before.sync.seconds;
  if (now.store !== before.store || now.uptime < before.uptime || entries < 0 || batches < 0 || seconds <= 0) return null;
  return {entries: entries / seconds, bytes: written / seconds, sync: batches > 0 ? busy / batches : null};
}

// sparkline returns the outlines of samples, [{at, value}] with null for a gap: the line
// and the area under it, for the time from since to until.
export function sparkline(samples, since, until, most) {
  let line = "", area = "", begin = null, x = 0;
  const end = () => {
    if (begin !== null) area += `L${x} ${HEIGHT}L${begin} ${HEIGHT}Z`;
    begin = null;
  };
  for (const {at, value} of samples) {
    if (value === null) {
      end();
      continue;
    }
    x = Math.round((at - since) / (until - since) * WIDTH * 10) / 10;
    const point = `${begin === null ? "M" : "L"}${x} ${(HEIGHT - 1 - value / most * (HEIGHT - 3)).toFixed(1)}`;
    line += point;
    area += point;
    begin ??= x;
  }
  end();
  return {line, area};
}

// chart is a tile with a label, the newest value and the last two minutes.
function chart(label, write) {
  const element = make("div", "chart"), value = make("span", "number", "–"), most = make("span", "most");
  const svg = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"});
  const area = draw("path", {class: "area"}), line = draw("path", {class: "curve"});
  svg.append(area, line);
  element.append(make("span", "label", label), value, svg, most);
  return {
    element,
    update(samples, now) {
      const values = samples.map(s => s.value).filter(v => v !== null), top = Math.max(...values, 0);
      const shape = sparkline(samples, now - SPAN, now, top || 1);
      line.setAttribute("d", shape.line);
      area.setAttribute("d", shape.area);
      const last = samples.at(-1)?.value ?? null;
      value.textContent = last === null ? "–" : write(last);
      most.textContent = top ? `max ${write(top)}` : "";
    },
  };
}

// status shows the state in element. fetchStat() has the answer of GET /stat; onRefused is told why
// appends are refused, or null, whenever that changes. start asks every two seconds while the
// page is visible; latest is the newest answer.
export function status(element, {fetchStat, onRefused}) {
  const charts = {
    entries: chart("appends/s", count), bytes: chart("written/s", bytes), sync: chart("sync", duration),
  };
  const samples = {entries: [], bytes: [], sync: []};
  const facts = {}, list = make("dl", "facts");
  for (const [name, label] of Object.entries({
    head: "head", readers: "readers", connections: "connections", stored: "stored", settle: "to be settled", disk: "disk", server: "server",
  })) {
    const pair = make("div");
    facts[name] = make("dd", "", "–");
    pair.append(make("dt", "", label), facts[name]);
    list.append(pair);
  }
  const full = make("span", "meter"), used = make("span");
  full.append(used);
  const note = make("p", "note");
  note.setAttribute("role", "status");
  const row = make("div", "charts");
  row.append(...Object.values(charts).map(c => c.element));
  element.classList.add("state");
  element.replaceChildren(row, list, note);

  let running = false, timer = 0, asking = false, before = null, refused = null;
  const result = {start, stop, latest: null};

  function sample(now, rate) {
    for (const [name, all] of Object.entries(samples)) {
      all.push({at: now, value: rate?.[name] ?? null});
      while (all[0].at < now - SPAN) all.shift();
      charts[name].update(all, now);
    }
  }

  function fill(s) {
    facts.head.textContent = count(s.head);
    facts.connections.textContent = count(s.connections);
    facts.readers.textContent = !s.readers ? "none" : `${count(s.readers)}, ${s.most_behind ? `up to ${count(s.most_behind)} behind` : "none behind"}`;
    facts.stored.textContent = `${s.loose >= 0 ? `${count(s.loose)} loose, ` : ""}${count(s.packed)} packed, ${bytes(s.bytes)}`;
    facts.settle.textContent = s.unsettled ? count(s.unsettled) : "nothing";
    facts.disk.parentElement.hidden = !s.disk;
    if (s.disk) {
      const part = s.disk.used / (s.disk.used + s.disk.free);
      used.style.width = `${Math.round(part * 100)}%`;
      used.className = part > 0.95 ? "bad" : "";
      facts.disk.replaceChildren(`${bytes(s.disk.used)} used, ${bytes(s.disk.free)} free `, full);
    }
    facts.server.textContent = `${s.version.split(" (")[0]}, up ${duration(s.uptime)}`;
    facts.server.title = s.version;
  }

  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const s = await fetchStat(), now = performance.now();
      if (!running) return;
      if (s.rights === "write") throw new Error("this token may not read the status");
      // After a pause, such as while the page was hidden, a rate would be the mean of the pause.
      const seconds = before ? (now - before.at) / 1000 : 0;
      sample(now, before && seconds < 5 * EVERY / 1000 ? rates(before.stat, s, seconds) : null);
      before = {at: now, stat: s};
      result.latest = s;
      fill(s);
      note.textContent = "";
      if ((s.failed ?? null) !== refused) {
        refused = s.failed ?? null;
        onRefused?.(refused);
      }
    } catch (error) {
      if (!running) return;
      sample(performance.now(), null);
      note.textContent = `no status: ${error.message}`;
    } finally {
      asking = false;
      element.classList.toggle("stale", note.textContent !== "");
      next();
    }
  }

  function next() {
    clearTimeout(timer);
    if (running && !document.hidden) timer = setTimeout(ask, EVERY);
  }
  function shown() {
    if (!document.hidden) ask();
  }
  function start() {
    if (running) return;
    running = true;
    document.addEventListener("visibilitychange", shown);
    shown();
  }
  function stop() {
    running = false;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", shown);
  }
  return result;
}
