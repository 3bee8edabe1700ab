// How many entries were stored when: bars over time, of which a span can be selected.

import {count, draw, make} from "./text.js";
import {instant, iso, spanText, ticks} from "./time.js";

const HEIGHT = 56, AXIS = 18;   // px
const BAR = 7;                  // px, about, with the gap
const APART = 3000;             // ms between two refreshes, at least
const SHORTEST = 1;             // ms that can be zoomed into

// histogram shows in element how many entries were stored when. fetchCounts(since, until, buckets) has the
// answer of GET /histogram, for two ISO times, or for null and null the whole log. onSelect(since, until, first) is
// told of a selected span, in ISO, and of the index of its first entry; onClear of its end. refresh asks again,
// but not more often than every three seconds; mark shows a time, or with null none.
export function histogram(element, {fetchCounts, onSelect, onClear}) {
  const head = make("div", "head"), says = make("span", "says"), buttons = make("span", "buttons");
  const plot = make("div", "plot"), svg = draw("svg", {"aria-hidden": "true"});
  const bars = draw("path", {class: "bars"}), picked = draw("path", {class: "bars picked"});
  const span = draw("rect", {class: "span", y: 0, height: HEIGHT}), cursorBar = draw("rect", {class: "cursor", y: 0, height: HEIGHT});
  const marker = draw("line", {class: "mark", y1: 0, y2: HEIGHT}), base = draw("line", {class: "base", y1: HEIGHT + 0.5, y2: HEIGHT + 0.5, x1: 0});
  const axis = draw("g", {class: "axis"});
  const button = (text, title, act) => {
    const b = make("button", "", text);
    [b.type, b.title, b.onclick, b.hidden] = ["button", title, act, true];
    buttons.append(b);
    return b;
  };
  const into = button("zoom in", "show only the selected time (Enter)", zoom);
  const out = button("zoom out", "show what was shown before (Esc)", back);
  const clear = button("clear", "select nothing (Esc)", () => unselect());
  head.append(says, buttons);
  svg.append(span, cursorBar, bars, picked, base, marker, axis);
  plot.append(svg);
  plot.tabIndex = 0;
  plot.setAttribute("role", "slider"); // so that a screen reader says the bucket that the arrows come to
  element.classList.add("histogram");
  element.replaceChildren(head, plot);

  let width = 0;
  let data = null;            // {since, until, size, counts, sums, first}; size is ms a bucket
  let shown = null;           // [since, until] that is zoomed into, null for the whole log
  const outer = [];           // what was shown before
  let selected = null;        // [since, until]
  let cursor = null, anchor = null; // buckets: where the keys or the pointer are, and where a selection began
  let marked = null;
  let asking = false, again = false, asked = -Infinity, timer = 0, asks = 0;

  // load asks for what is to be shown. An answer to an older question is dropped.
  async function load() {
    if (!width) return;
    const ask = ++asks, buckets = Math.max(10, Math.min(300, Math.floor(width / BAR)));
    asking = true;
    again = false;
    asked = performance.now();
    try {
      const a = await fetchCounts(shown ? iso(shown[0]) : null, shown ? iso(shown[1]) : null, buckets);
      if (ask !== asks) return;
      const since = instant(a.since), until = Math.max(instant(a.until), since + 0.001), sums = [0];
      for (const n of a.counts) sums.push(sums.at(-1) + n);
      data = {since, until, size: (until - since) / a.counts.length, counts: a.counts, sums, first: a.first};
      if (cursor >= a.counts.length) cursor = null;
      element.classList.remove("failed");
    } catch (error) {
      if (ask !== asks) return;
      element.classList.add("failed");
      says.textContent = `no histogram: ${error.message}`;
      return;
    } finally {
      if (ask === asks) {
        asking = false;
        if (again) refresh();
      }
    }
    render();
  }

  function refresh() {
    if (asking || timer) {
      again = asking;
      return;
    }
    timer = setTimeout(() => {
      timer = 0;
      if (document.hidden) again = true;
      else load();
    }, Math.max(0, asked + APART - performance.now()));
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && again) refresh();
  });

  const x = time => (time - data.since) / (data.until - data.since) * width;
  const edge = i => i === data.counts.length ? data.until : data.since + i * data.size;
  // range is the selection in buckets, [begin, end), null without one that can be seen.
  function range() {
    if (!selected || !data) return null;
    const n = data.counts.length, at = t => Math.max(0, Math.min(n, Math.round((t - data.since) / data.size)));
    const [begin, end] = selected.map(at);
    return begin < end ? [begin, end] : null;
  }

  function path(begin, end, most) {
    let d = "";
    const gap = width / data.counts.length > 4 ? 1 : 0;
    for (let i = begin; i < end; i++) {
      if (!data.counts[i]) continue;
      const left = Math.round(x(edge(i))), right = Math.max(left + 1, Math.round(x(edge(i + 1))) - gap);
      const h = Math.max(2, Math.round(data.counts[i] / most * (HEIGHT - 4)));
      d += `M${left} ${HEIGHT}V${HEIGHT - h}H${right}V${HEIGHT}Z`;
    }
    return d;
  }

  function place(rect, begin, end) {
    rect.setAttribute("x", Math.round(x(edge(begin))));
    rect.setAttribute("width", Math.max(1, Math.round(x(edge(end))) - Math.round(x(edge(begin)))));
  }

  function render() {
    if (!data || !width) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT + AXIS}`);
    const most = Math.max(1, ...data.counts), all = range();
    bars.setAttribute("d", path(0, data.counts.length, most));
    bars.classList.toggle("rest", Boolean(all));
    picked.setAttribute("d", all ? path(...all, most) : "");
    span.toggleAttribute("hidden", !all);
    if (all) place(span, ...all);
    cursorBar.toggleAttribute("hidden", cursor === null);
    if (cursor !== null) place(cursorBar, cursor, cursor + 1);
    base.setAttribute("x2", width);
    const seen = marked !== null && marked >= data.since && marked <= data.until;
    marker.toggleAttribute("hidden", !seen);
    if (seen) for (const end of ["x1", "x2"]) marker.setAttribute(end, Math.round(x(marked)) + 0.5);
    axis.replaceChildren(...ticks(data.since, data.until, width / 90).flatMap(({time, label}) => {
      const at = Math.round(x(time)) + 0.5, text = draw("text", {x: at + 4, y: HEIGHT + 14});
      text.textContent = label;
      return at > width - 8 * label.length ? [] : [draw("line", {x1: at, x2: at, y1: HEIGHT, y2: HEIGHT + 5}), text];
    }));
    into.hidden = !all || all[1] - all[0] === data.counts.length || data.until - data.since <= SHORTEST;
    out.hidden = !outer.length;
    clear.hidden = !selected;
    describe();
  }

  const entries = n => `${count(n)} ${n === 1 ? "entry" : "entries"}`;
  function describe() {
    const all = range(), {sums, size} = data, total = `${spanText(data.since, data.until, size)}  ·  ${entries(sums.at(-1))}`;
    const told = (begin, end) => `${spanText(edge(begin), edge(end), size)}  ·  ${entries(sums[end] - sums[begin])}`;
    if (cursor !== null && !(anchor !== null && all)) says.textContent = told(cursor, cursor + 1);
    else says.textContent = all ? `${told(...all)} selected` : total;
    const top = data.counts.indexOf(Math.max(...data.counts));
    for (const [name, value] of [["min", 0], ["max", data.counts.length - 1], ["now", cursor ?? all?.[0] ?? data.counts.length - 1], ["text", says.textContent]]) {
      plot.setAttribute("aria-value" + name, value);
    }
    plot.setAttribute("aria-label", `Entries over time: ${total}; most, ${count(data.counts[top])}, in ${spanText(edge(top), edge(top + 1), size)}. ` +
      "Arrows move, with Shift they select, Enter selects and then zooms in, Escape goes back.");
  }

  function select(a, b) {
    const [begin, end] = a < b ? [a, b + 1] : [b, a + 1];
    selected = [edge(begin), edge(end)];
    render();
  }
  function tell() {
    const all = range();
    if (all) onSelect?.(iso(selected[0]), iso(selected[1]), data.first + data.sums[all[0]]);
  }
  function unselect() {
    if (!selected) return;
    [selected, anchor] = [null, null];
    render();
    onClear?.();
  }
  function show(next) {
    [shown, cursor, anchor] = [next, null, null];
    load();
  }
  function zoom() {
    if (!range() || data.until - data.since <= SHORTEST) return;
    outer.push(shown);
    show(selected);
  }
  function back() {
    if (outer.length) show(outer.pop());
  }

  const bucket = event => {
    const n = data.counts.length, at = (event.clientX - plot.getBoundingClientRect().left) / width;
    return Math.max(0, Math.min(n - 1, Math.floor(at * n)));
  };
  let dragging = false;
  plot.addEventListener("pointerdown", event => {
    if (!data || event.button) return;
    dragging = true;
    plot.setPointerCapture(event.pointerId);
    anchor = cursor = bucket(event);
    select(anchor, anchor);
  });
  plot.addEventListener("pointermove", event => {
    if (!data) return;
    cursor = bucket(event);
    if (dragging) select(anchor, cursor);
    else render();
  });
  plot.addEventListener("pointerup", () => {
    if (!dragging) return;
    dragging = false;
    cursor = anchor = null; // so that the selection is described, until the pointer moves on
    render();
    tell();
  });
  plot.addEventListener("pointercancel", () => {
    dragging = false;
    unselect();
  });
  plot.addEventListener("pointerleave", () => {
    if (!data || dragging) return;
    cursor = null;
    render();
  });
  plot.addEventListener("dblclick", zoom);
  plot.addEventListener("blur", () => {
    if (!data) return;
    cursor = null;
    render();
  });
  plot.addEventListener("keydown", event => {
    if (!data || event.ctrlKey || event.altKey || event.metaKey) return;
    const last = data.counts.length - 1, from = cursor ?? range()?.[0] ?? last + 1;
    const within = i => Math.max(0, Math.min(last, i));
    const to = {ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 10, PageDown: from + 10, Home: 0, End: last}[event.key];
    if (to !== undefined) {
      if (event.shiftKey) anchor ??= within(from);
      else anchor = null;
      cursor = within(to);
      if (event.shiftKey) select(anchor, cursor);
      else render();
    } else if (event.key === "Enter") {
      const all = range();
      if (cursor !== null && anchor === null && !(all && all[0] <= cursor && cursor < all[1])) {
        select(cursor, cursor);
        tell();
      } else if (anchor !== null) {
        anchor = null;
        tell();
      } else zoom();
    } else if (event.key === "Escape" && selected) unselect();
    else if (event.key === "Escape" && outer.length) back();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  new ResizeObserver(() => {
    const now = Math.floor(plot.clientWidth);
    if (now === width) return;
    width = now;
    render();
    if (now) refresh();
  }).observe(plot);

  return {
    refresh,
    mark(time) {
      marked = time === null || time === undefined ? null : typeof time === "string" ? instant(time) : Number(time);
      render();
    },
  };
}
