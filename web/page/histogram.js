// How many entries were stored when: bars over time, of which a span can be selected.

import {count, draw, make} from "./text.js";
import {instant, iso, spanText, ticks} from "./time.js";

const HEIGHT = 56, AXIS = 18, BAR = 7; // px; a bar about, with its gap
const APART = 3000;                    // ms between two refreshes, at least
const SHORTEST = 1;                    // ms that can be zoomed into

// histogram shows in element how many entries were stored when. fetchCounts(since, until, buckets) has the
// answer of GET /histogram, for two ISO times, or for null and null the whole log. onSelect(since, until, first) is
// told of a selected span, in ISO, and of the index of its first entry; onClear of its end. refresh asks again,
// but not more often than every three seconds; clear selects nothing; mark shows a time, or with null none.
export function histogram(element, {fetchCounts, onSelect, onClear}) {
  const button = (text, title, onclick) => make("button", {type: "button", title, onclick, hidden: true}, text);
  const into = button("zoom in", "show only the selected time (Enter)", zoom);
  const out = button("zoom out", "show what was shown before (Esc)", back);
  const clear = button("clear", "select nothing (Esc)", unselect);
  const bars = draw("path", {class: "bars"}), picked = draw("path", {class: "bars picked"}), axis = draw("g", {class: "axis"});
  const span = draw("rect", {class: "span", height: HEIGHT}), at = draw("rect", {class: "cursor", height: HEIGHT});
  const marker = draw("path", {class: "mark"}), base = draw("path", {class: "base"}), svg = draw("svg", {"aria-hidden": "true"});
  const says = make("span", "says");
  // As a slider a screen reader says the bucket that the arrows come to.
  const plot = make("div", {className: "plot", tabIndex: 0, role: "slider", ariaValueMin: 0}, svg);
  svg.append(span, at, bars, picked, base, marker, axis);
  element.classList.add("histogram");
  element.replaceChildren(make("div", "head", says, make("span", "buttons", into, out, clear)), plot);

  let width = 0;
  let data = null;                  // {since, until, size, counts, sums, first}; size is ms a bucket
  let shown = null;                 // [since, until] that is zoomed into, null for the whole log
  const outer = [];                 // what was shown before
  let selected = null;              // [since, until]
  let cursor = null, anchor = null; // buckets: where the keys or the pointer are, and where a selection began
  let marked = null, dragging = false;
  let asks = 0, asking = false, again = false, asked = -Infinity, timer = 0;

  // load asks for what is to be shown. An answer to an older question is dropped.
  async function load() {
    if (!width) return;
    const ask = ++asks;
    [asking, again, asked] = [true, false, performance.now()];
    try {
      const buckets = Math.max(10, Math.min(300, Math.floor(width / BAR)));
      const a = await fetchCounts(shown && iso(shown[0]), shown && iso(shown[1]), buckets);
      if (ask !== asks) return;
      const since = instant(a.since), until = Math.max(instant(a.until), since + 0.001), sums = [0];
      for (const n of a.counts) sums.push(sums.at(-1) + n);
      data = {since, until, size: (until - since) / a.counts.length, counts: a.counts, sums, first: a.first};
      if (cursor >= a.counts.length) cursor = null;
      element.classList.remove("failed");
      render();
    } catch (error) {
      if (ask !== asks) return;
      element.classList.add("failed");
      says.textContent = `no histogram: ${error.message}`;
    } finally {
      if (ask === asks) {
        asking = false;
        if (again) refresh();
      }
    }
  }

  function refresh() {
    if (asking) again = true;
    else timer ||= setTimeout(() => {
      timer = 0;
      if (document.hidden) again = true;
      else load();
    }, Math.max(0, asked + APART - performance.now()));
  }
  document.addEventListener("visibilitychange", () => !document.hidden && again && refresh());

  const x = time => Math.round((time - data.since) / (data.until - data.since) * width);
  const edge = i => i === data.counts.length ? data.until : data.since + i * data.size;
  const within = i => Math.max(0, Math.min(data.counts.length - 1, i));
  // range is the selection in buckets, [begin, end), null without one that can be seen.
  function range() {
    const [begin, end] = (selected ?? [0, 0]).map(t => Math.max(0, Math.min(data.counts.length, Math.round((t - data.since) / data.size))));
    return begin < end ? [begin, end] : null;
  }

  // outline is that of the bars from begin to end.
  function outline(begin, end) {
    const gap = data.size / (data.until - data.since) * width > 4 ? 1 : 0, most = Math.max(...data.counts);
    let d = "";
    for (let i = begin; i < end; i++) {
      if (!data.counts[i]) continue;
      const left = x(edge(i)), right = Math.max(left + 1, x(edge(i + 1)) - gap);
      d += `M${left} ${HEIGHT}V${HEIGHT - Math.max(2, Math.round(data.counts[i] / most * (HEIGHT - 4)))}H${right}V${HEIGHT}Z`;
    }
    return d;
  }

  // place puts a rectangle over the buckets of a range, or hides it.
  function place(rect, buckets) {
    const [left, right] = buckets ? buckets.map(i => x(edge(i))) : [0, 0];
    rect.setAttribute("x", left);
    rect.setAttribute("width", buckets ? Math.max(1, right - left) : 0);
  }

  function render() {
    if (!data || !width) return;
    const {counts, since, until} = data, all = range();
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT + AXIS}`);
    bars.setAttribute("d", outline(0, counts.length));
    bars.classList.toggle("rest", Boolean(all));
    picked.setAttribute("d", all ? outline(...all) : "");
    place(span, all);
    place(at, cursor !== null && [cursor, cursor + 1]);
    base.setAttribute("d", `M0 ${HEIGHT + 0.5}H${width}`);
    marker.setAttribute("d", marked >= since && marked <= until ? `M${x(marked) + 0.5} 0V${HEIGHT}` : "");
    axis.replaceChildren(...ticks(since, until, width / 90).filter(t => x(t.time) < width - 8 * t.label.length).flatMap(({time, label}) => {
      const text = draw("text", {x: x(time) + 4, y: HEIGHT + 14});
      text.append(label);
      return [draw("path", {d: `M${x(time) + 0.5} ${HEIGHT}v5`}), text];
    }));
    into.hidden = !all || all[1] - all[0] === counts.length || until - since <= SHORTEST;
    out.hidden = !outer.length;
    clear.hidden = !selected;
    describe(all);
  }

  function describe(all) {
    const {counts, sums, size} = data, top = counts.indexOf(Math.max(...counts)), entries = n => `${count(n)} ${n === 1 ? "entry" : "entries"}`;
    const told = (begin, end) => `${spanText(edge(begin), edge(end), size)}  ·  ${entries(sums[end] - sums[begin])}`;
    const total = told(0, counts.length);
    if (cursor !== null && anchor === null) says.textContent = told(cursor, cursor + 1);
    else says.textContent = all ? `${told(...all)} selected` : total;
    Object.assign(plot, {
      ariaValueMax: counts.length - 1, ariaValueNow: cursor ?? all?.[0] ?? counts.length - 1, ariaValueText: says.textContent,
      ariaLabel: `Entries over time: ${total}; most, ${count(counts[top])}, in ${spanText(edge(top), edge(top + 1), size)}. ` +
        "Arrows move, with Shift they select, Enter selects and then zooms in, Escape goes back.",
    });
  }

  function select(a, b) {
    selected = [edge(Math.min(a, b)), edge(Math.max(a, b) + 1)];
    render();
  }
  function tell() {
    anchor = null;
    render();
    onSelect?.(iso(selected[0]), iso(selected[1]), data.first + data.sums[range()[0]]);
  }
  function unselect() {
    if (!selected) return;
    selected = anchor = null;
    render();
    onClear?.();
  }
  function show(next) {
    shown = next;
    cursor = anchor = null;
    load();
  }
  function zoom() {
    if (into.hidden) return;
    outer.push(shown);
    show(selected);
  }
  function back() {
    if (outer.length) show(outer.pop());
  }

  const bucket = event => within(Math.floor((event.clientX - plot.getBoundingClientRect().left) / width * data.counts.length));
  const leave = () => {
    if (dragging) return;
    cursor = null;
    render();
  };
  Object.assign(plot, {
    onpointerdown(event) {
      if (!data || event.button) return;
      dragging = true;
      plot.setPointerCapture(event.pointerId);
      select(anchor = cursor = bucket(event), cursor);
    },
    onpointermove(event) {
      if (!data) return;
      cursor = bucket(event);
      if (dragging) select(anchor, cursor);
      else render();
    },
    onpointerup() {
      if (!dragging) return;
      dragging = false;
      cursor = null; // so that the selection is described, until the pointer moves on
      tell();
    },
    onpointercancel() {
      dragging = false;
      unselect();
    },
    onpointerleave: leave, onblur: leave, ondblclick: zoom,
    onkeydown(event) {
      if (!data || event.ctrlKey || event.altKey || event.metaKey) return;
      const {length} = data.counts, all = range(), from = cursor ?? all?.[0] ?? length;
      const to = {ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 10, PageDown: from + 10, Home: 0, End: length}[event.key];
      if (to !== undefined) {
        anchor = event.shiftKey ? anchor ?? within(from) : null;
        cursor = within(to);
        if (event.shiftKey) select(anchor, cursor);
        else render();
      } else if (event.key === "Enter") {
        const inside = cursor === null || all && all[0] <= cursor && cursor < all[1];
        if (!inside) select(cursor, cursor);
        if (!inside || anchor !== null) tell();
        else zoom();
      } else if (event.key === "Escape" && selected) unselect();
      else if (event.key === "Escape" && outer.length) back();
      else return;
      event.preventDefault();
      event.stopPropagation(); // the page has keys too
    },
  });

  new ResizeObserver(() => {
    if (width === plot.clientWidth) return;
    width = plot.clientWidth;
    render();
    refresh();
  }).observe(plot);

  return {
    refresh, clear: unselect,
    mark(time) {
      marked = typeof time === "string" ? instant(time) : time ?? null;
      render();
    },
  };
}
