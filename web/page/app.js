// The page: what its parts say to each other.

import {json, post, Refused, whenUnauthorized} from "./api.js";
import {appendForm} from "./append.js";
import {brief, cache} from "./cache.js";
import {columns as chosenColumns} from "./columns.js";
import {entryPanel} from "./entry.js";
import {parseFilter, search, term} from "./filter.js";
import {firstSince, timeOf} from "./goto.js";
import {histogram} from "./histogram.js";
import {list as virtualList} from "./list.js";
import {fillRow} from "./row.js";
import {saving} from "./save.js";
import {logIn} from "./session.js";
import {status} from "./status.js";
import {tail} from "./tail.js";
import {count, make} from "./text.js";

const MATCHES = 500;        // that a filter shows before it asks whether to go on
const $ = id => document.getElementById(id);

const session = {rights: {read: false, write: false}};
let head = 0;      // the newest entry
let end = 0;       // the newest that the list shows, head unless the tail is paused
let held = false;  // the tail was paused by the user's wish, not by scrolling
let begun = false; // the head is known
let span = null;   // {first, last} selected in the histogram
let found = null;  // the search that is shown: {text, where, entries, at, controller, running, full}

// What the list shows.

const columns = chosenColumns({onChange: () => {
  entries.clear(); // of entries that are cut, only the chosen members are kept
  list.refill();
  names();
}});
const cells = text => columns.chosen.length ? columns.cells(text) : undefined;
const entries = cache({head: () => head, cells, onChange: () => list.schedule()});
const list = virtualList($("list"), {
  fill: (row, entry, index) => fillRow(row, entry, index, columns.chosen.length ? columns : null),
  onOpen: position => go(source().index(position)),
  onScroll(atEnd) {
    if (found || span) return;
    if (!atEnd && list.follow) pause();
    else if (atEnd && !held) resume();
  },
});

const all = {
  get first() { return span?.first ?? 1; },
  get last() { return span?.last ?? end; },
  get count() { return Math.max(0, this.last - this.first + 1); },
  index: position => all.first + position,
  position: index => index - all.first,
  get: position => entries.get(all.first + position),
  need: (a, b) => entries.need(all.first + a, all.first + b),
};
const matches = {
  get count() { return found.entries.length; },
  index: position => found.entries[position].index,
  position: index => found.entries.findIndex(entry => entry.index === index),
  get: position => found.entries[position],
  need() {},
};
const source = () => found ? matches : all;

function names() {
  const chosen = columns.chosen;
  document.body.classList.toggle("columned", chosen.length > 0);
  document.body.style.setProperty("--columns", Math.max(1, chosen.length));
  $("names").replaceChildren(make("span", "index", "#"), make("span", "time", "time"),
    ...chosen.length ? chosen.map(path => make("span", "cell", path)) : [make("span", "text", "entry")]);
}

// The tail.

let connection = "connecting", lost = null, refused = null, other = "";
function state() {
  const live = connection !== "live" ? connection : list.follow ? "live" : "paused";
  if ($("live").textContent !== live) $("live").textContent = live;
  document.body.dataset.live = live;
  $("head").textContent = !begun ? "" : head === 1 ? "1 entry" : `${count(head)} entries`;
  $("pause").setAttribute("aria-pressed", !list.follow);
  $("pause").textContent = list.follow ? "Pause" : "Follow";
  const after = found ? (found.running || found.full || span ? head : found.at) : end, news = span && !found ? 0 : head - after;
  $("new").hidden = list.follow || news <= 0;
  if (news > 0) $("new").textContent = `${count(news)} new`;
  $("empty").hidden = !begun || source().count > 0 || Boolean(found?.running);
  $("empty").textContent = found ? (!found.where ? "" : found.full ? "Nothing matches so far." : "Nothing matches.") : span ? "No entry is of that time." : "The log is empty. What is appended appears here.";
  document.body.style.setProperty("--digits", Math.max(4, String(head).length));
}
function banner() {
  const says = lost ? `Connection lost: ${lost}. Reconnecting…` : refused ? `Appends refused: ${refused}` : other;
  $("banner").hidden = !says;
  if ($("banner").textContent !== says) $("banner").textContent = says;
}

function pause() {
  list.follow = false;
  state();
}
function resume() {
  held = false;
  end = head;
  list.follow = true;
  state();
}
function toggle() {
  if (list.follow) {
    held = true;
    pause();
  } else latest();
}
// latest leaves whatever is shown for the end of the log.
function latest() {
  unspan();
  if (found) filterBy("");
  close();
  resume();
}

let queued = 0; // entries arrive more often than the screen is drawn
function arrived() {
  queued = 0;
  if (list.follow) end = head;
  list.schedule();
  state();
  bars.refresh();
  $("say").textContent || hear();
}
const follower = tail({
  onBegin(stat) {
    lost = null;
    head = Math.max(head, stat.head);
    if (list.follow || !begun) end = head;
    const first = !begun;
    begun = true;
    if (first) route();
    arrived();
    banner();
  },
  onEntries(batch) {
    for (const entry of batch) entries.put(entry);
    head = batch.at(-1).index;
    columns.see(batch.at(-1).text ?? "{}");
    queued ||= document.hidden ? setTimeout(arrived, 1000) : requestAnimationFrame(arrived);
  },
  onState(now, why) {
    connection = now;
    lost = now === "reconnecting" ? why : null;
    if (now === "live") setTimeout(() => { other = ""; banner(); }, 10_000);
    state();
    banner();
    if (now === "reconnecting") admit();
  },
  onOther() {
    [head, end, begun] = [0, 0, false];
    entries.clear();
    unspan();
    if (found) filterBy("");
    close();
    list.show(all);
    list.follow = true;
    other = "The server has another log now. The page shows that one.";
  },
});

// hear says now and then how many are new, for those who do not see it.
let heard = 0, hearing = 0;
function hear() {
  hearing ||= setTimeout(() => {
    hearing = 0;
    if (heard && head > heard) say(`${count(head - heard)} new`);
    heard = head;
  }, 15_000);
}
function say(text) {
  $("say").textContent = text;
  setTimeout(() => { $("say").textContent = ""; }, 3000);
}
let noted = 0;
function note(text) {
  clearTimeout(noted);
  $("note").textContent = text;
  $("note").hidden = !text;
  noted = setTimeout(() => { $("note").hidden = true; }, 8000);
}

// The address: #/1234 is an entry, and ?filter=… what is searched for.

function go(index) {
  const hash = `#/${index ?? ""}` + (found ? "?" + new URLSearchParams({filter: found.text}) : "");
  if (location.hash === hash) route();
  else location.hash = hash;
}
function route() {
  if (!begun) return;
  const [, digits, parameters] = /^#\/(\d*)\??(.*)$/.exec(location.hash) ?? [, "", ""];
  const filter = new URLSearchParams(parameters).get("filter") ?? "";
  if (filter !== (found?.text ?? "")) run(filter);
  if (!digits) {
    panel.close();
    bars.mark(null);
    if (!list.follow && !found && list.cursor < 0 && !held && !span) resume();
    return;
  }
  const index = Number(digits);
  if (!found) {
    if (span && (index < span.first || index > span.last)) {
      unspan();
      list.show(all);
    }
    if (index > all.last && !span) end = head;
    list.follow = false;
  }
  list.select(source().position(index));
  state();
  panel.open(index, {filtered: Boolean(found)});
}
addEventListener("hashchange", route);

function close() {
  if (panel.index === null) return;
  const within = $("entry").contains(document.activeElement);
  go(null);
  if (within) $("list").focus();
}

const panel = entryPanel($("entry"), {
  say: note,
  onStep: step,
  onClose: close,
  onContext(index) { location.hash = `#/${index}`; },
  onShown(entry) { bars.mark(entry?.time ?? null); },
  onValue(path, jsonText) {
    const added = term(path, jsonText), text = $("filter").value.trim();
    filterBy(text.includes(added) ? text : `${text} ${added}`.trim());
  },
});
function step(by) {
  if (!source().count) return;
  const position = list.move(by);
  if (!found && position < source().count - 1) pause();
  if (panel.index === null) return;
  history.replaceState(null, "", location.hash.replace(/\d*(?=\?|$)/, source().index(position)));
  route();
}

// goTo goes to an index or a time.
async function goTo(text) {
  if (/^[\d,]+$/.test(text)) {
    const index = Number(text.replaceAll(",", ""));
    if (index > head || index < 1) note(`There is no entry ${index}: the log has 1 to ${head}.`);
    return head && show(Math.max(1, Math.min(head, index)));
  }
  const time = timeOf(text);
  if (!time) return note(`“${text}” is neither an index nor a time, such as 1234, 2026-11-28 09:00, 09:00 or 10 min ago.`);
  try {
    const index = await firstSince(time);
    if (index) show(index);
    else {
      note("Nothing was stored at that time or later.");
      latest();
    }
  } catch (error) {
    note(error.message);
  }
}
function show(index) {
  if (found) filterBy("", index);
  else go(index);
  $("list").focus();
}
// The filter.

// filterBy searches, or with no text shows the log again: at an index if one is given or open.
function filterBy(text, index = panel.index) {
  $("filter").value = text;
  const parameters = text && "?" + new URLSearchParams({filter: text});
  const hash = `#/${(!text && index) || ""}${parameters}`;
  if (location.hash === hash) route();
  else location.hash = hash;
}
// run begins a search.
function run(text) {
  $("filter").value = text;
  found?.controller?.abort();
  $("filter").setCustomValidity("");
  $("filter").removeAttribute("aria-invalid");
  let where = "";
  try {
    where = parseFilter(text);
  } catch (error) {
    refuse(error.message, text);
    return;
  }
  const before = list.cursor >= 0 ? source().index(list.cursor) : null;
  if (!where) {
    found = null;
    $("progress").hidden = true;
    list.show(all);
    if (before !== null && !span) list.select(all.position(before));
    else if (!span) resume();
  } else {
    found = {text, where, entries: [], at: (span?.first ?? 1) - 1, full: false};
    list.follow = false;
    list.show(matches);
    more();
  }
  state();
}
function refuse(why, text) {
  found = {text, where: "", entries: [], at: head, full: true};
  list.follow = false;
  list.show(matches);
  $("filter").setCustomValidity(why);
  $("filter").setAttribute("aria-invalid", "true");
  progress(`The filter cannot be read: ${why}`);
  state();
}
// more goes on with the search, for so many matches.
async function more() {
  const search_ = found, through = span?.last ?? head;
  if (search_.at >= through) return progress();
  search_.controller = new AbortController();
  [search_.running, search_.full, search_.through] = [true, false, through];
  progress();
  let wrong = "";
  try {
    search_.at = await search({
      where: search_.where, from: search_.at + 1, through, most: MATCHES, signal: search_.controller.signal,
      onFound(batch) {
        for (const entry of batch) search_.entries.push(brief(entry, cells));
        if (search_ === found) list.schedule();
      },
      onAt(at) {
        search_.at = at;
        if (search_ === found) progress();
      },
    });
  } catch (error) {
    if (error instanceof Refused && error.status === 400) wrong = error.message;
    else if (!search_.controller.signal.aborted) wrong = error.message;
    else search_.stopped = true;
  }
  [search_.running, search_.full] = [false, search_.at < through];
  if (search_ !== found) return;
  progress(wrong && `The search has ended: ${wrong}`);
  say($("found").textContent);
  state();
}
let progressed = 0;
function progress(wrong = "") {
  if (wrong) $("found").textContent = wrong;
  $("found").classList.toggle("bad", Boolean(wrong));
  $("progress").hidden = false;
  $("stop").hidden = !found.running;
  $("more").hidden = !found.full || found.running || !found.where;
  const first = span?.first ?? 1, through = found.through ?? head;
  $("progress").style.setProperty("--part", through < first ? 1 : Math.min(1, (found.at - first + 1) / (through - first + 1)));
  $("progress").classList.toggle("running", Boolean(found.running));
  const now = performance.now();
  if (wrong || found.running && now - progressed < 100 && found.entries.length > 50) return;
  progressed = now;
  const n = found.entries.length, what = `${count(n)} ${n === 1 ? "match" : "matches"}`;
  $("found").textContent = found.at >= through ? `${what} in ${count(Math.max(0, through - first + 1))} entries` + (span ? " of the selected time" : "")
    : `${what} through ${count(found.at)} of ${count(through)}`;
}

// Its parts.

const bars = histogram($("histogram"), {
  fetchCounts: (since, until, buckets) => json("histogram?" + new URLSearchParams(since ? {since, until, buckets} : {buckets})),
  async onSelect(since, until, first) {
    const after = await firstSince(until).catch(() => 0);
    span = {first, last: after ? after - 1 : head};
    respan();
  },
  onClear() {
    if (!span) return;
    span = null;
    respan();
  },
});
function unspan() {
  if (!span) return;
  span = null;
  bars.clear();
}
// respan shows the span that is selected now.
function respan() {
  if (found) return run(found.text);
  if (panel.index !== null && span) close();
  list.show(all);
  list.follow = false;
  if (span) list.edge(false);
  else resume();
  state();
}

const state_ = status($("status"), {
  async fetchStat() {
    const stat = await json("stat");
    follower.behind(stat.head);
    return stat;
  },
  onRefused(text) {
    refused = text;
    banner();
  },
});
let maxEntry = 16 << 20;
appendForm($("append"), {post: text => post("entries", text), maxEntry: () => state_.latest?.max_entry ?? maxEntry});
$("columns").append(columns.chooser);

const offer = saving($("download"), {columns, shown: () => found
  ? {where: found.where, from: span?.first ?? 1, through: span?.last ?? head, entries: null}
  : {from: all.first, through: Math.max(1, all.last), entries: all.count}});

// Who is asked for what.

function reveal(id, open = $(id).hidden) {
  const opener = document.querySelector(`[aria-controls="${id}"]`);
  if (id === "status") $("status").classList.toggle("whole", open = !$("status").classList.contains("whole"));
  else $(id).hidden = !open;
  opener.setAttribute("aria-expanded", open);
  if (open && id === "download") offer();
  if (open) $(id).querySelector("textarea, input")?.focus();
}
$("panels").addEventListener("click", ({target}) => {
  const id = target.getAttribute("aria-controls");
  if (id === "help") $("help").showModal();
  else if (id) reveal(id);
});

// admit shows what the rights of whoever asks allow.
async function admit() {
  let now;
  try {
    now = await json("session");
  } catch (error) {
    if (error.status !== 404) return; // the stream tries again, and then so does this
    now = {access: "open", rights: {read: true, write: true}};
  }
  const {read: may, write} = now.rights;
  const changed = may !== session.rights.read || write !== session.rights.write;
  Object.assign(session, now);
  if (!changed && may) return;
  $("login").hidden = may || write;
  $("log").hidden = $("panels").hidden = !may;
  $("live").hidden = !may;
  $("only").hidden = may || !write;
  $("logout").hidden = now.access !== "token" || !may && !write;
  $("append").hidden = may || !write;
  document.querySelector('[aria-controls="append"]').hidden = !write;
  if (may) {
    begun = false;
    names();
    list.show(all);
    list.follow = true;
    follower.start();
    state_.start();
    return;
  }
  follower.stop();
  state_.stop();
  [lost, refused, begun] = [null, null, false];
  panel.close();
  entries.clear();
  for (const id of ["columns", "download"]) $(id).hidden = true;
  if (found) found.controller?.abort();
  found = span = null;
  [head, end] = [0, 0];
  list.show(all);
  banner();
  state();
  if (write) maxEntry = (await json("stat").catch(() => ({}))).max_entry ?? maxEntry;
  else $("token").focus();
}
whenUnauthorized(admit);
logIn($("login"), $("logout"), admit);

// Buttons and keys.

$("pause").onclick = toggle;
$("new").onclick = () => found ? more() : latest();
$("stop").onclick = () => found.controller.abort();
$("more").onclick = more;
$("clear").onclick = () => filterBy("");
$("filtering").addEventListener("submit", event => {
  event.preventDefault();
  filterBy($("filter").value.trim());
  $("list").focus();
});
$("going").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("goto").value.trim();
  if (text) goTo(text);
});

const KEYS = {
  "/": () => { $("filter").focus(); $("filter").select(); },
  g() { $("goto").focus(); $("goto").select(); },
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  Enter() { if (list.cursor >= 0) go(source().index(list.cursor)); },
  Escape: close,
  " ": toggle,
  PageDown: () => list.page(1), PageUp: () => list.page(-1),
  Home: () => list.edge(false),
  End() {
    if (!found && !span) held = false;
    list.edge(true);
  },
  "?": () => $("help").showModal(),
};
document.addEventListener("keydown", event => {
  const {target, key} = event, act = KEYS[key];
  if (!act || event.ctrlKey || event.altKey || event.metaKey || $("help").open || $("log").hidden) return;
  if (target.matches("input, textarea, select")) {
    if (key !== "Escape") return;
    target.blur();
    $("list").focus();
  } else if (target.matches("button, a, summary") && (key === "Enter" || key === " ")) return;
  else act();
  event.preventDefault();
});

admit();
