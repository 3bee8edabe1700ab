// Times: those of the protocol, which have microseconds, those that people read, and the ticks of an axis.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500].concat(
  [SECOND, MINUTE].flatMap(unit => [1, 2, 5, 10, 15, 30].map(n => n * unit)), [1, 2, 3, 6, 12].map(n => n * HOUR));
const two = n => String(n).padStart(2, "0");

// instant is a time in ms, with its µs as a fraction; iso is one as text, in µs.
export function instant(text) {
  const fraction = /\.\d{3}(\d{1,3})/.exec(text);
  return Date.parse(text) + (fraction ? Number("0." + fraction[1]) : 0);
}
export function iso(ms) {
  const whole = Math.floor(ms), micro = Math.min(999, Math.round((ms - whole) * 1000));
  return new Date(whole).toISOString().slice(0, -1) + String(micro).padStart(3, "0") + "Z";
}

// clock writes the time of a day as finely as a step of ms needs it.
function clock(d, step) {
  let text = `${two(d.getHours())}:${two(d.getMinutes())}`;
  if (step < MINUTE) text += `:${two(d.getSeconds())}`;
  if (step < SECOND) text += `.${String(d.getMilliseconds()).padStart(3, "0")}`;
  return text;
}

// ticks are times in ms with labels, local and round, about most of them at most.
export function ticks(since, until, most) {
  const found = [], fits = step => (until - since) / step <= most;
  if (!(until > since && most >= 1)) return found;
  const add = (d, label) => d >= since && found.push({time: +d, label});
  const month = d => d.toLocaleDateString("en", {month: "short"});
  const step = STEPS.find(fits);
  if (step) {
    const zone = new Date(since).getTimezoneOffset() * MINUTE; // local hours need not begin with those of UTC
    for (let t = Math.ceil((since - zone) / step) * step + zone; t < until; t += step) {
      const d = new Date(t), label = clock(d, step);
      add(d, step >= HOUR && label === "00:00" ? `${d.getDate()} ${month(d)}` : label);
    }
    return found;
  }
  const first = new Date(since), days = [1, 2, 7, 14].find(n => fits(n * DAY));
  const months = [1, 2, 3, 6, 12, 24, 60, 120, 1200].find(n => fits(n * 30.4 * DAY)) ?? 12000;
  const d = days ? new Date(first.getFullYear(), first.getMonth(), first.getDate()) : new Date(first.getFullYear(), 0);
  for (; d < until; days ? d.setDate(d.getDate() + days) : d.setMonth(d.getMonth() + months)) {
    add(d, days ? `${d.getDate()} ${month(d)}` : d.getMonth() ? month(d) : String(d.getFullYear()));
  }
  return found;
}

// moment writes a local time as finely as a step of ms needs it, with its day if that is wanted.
export function moment(time, step, withDay) {
  const d = new Date(time), day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} `;
  return (withDay ? day : "") + clock(d, step < SECOND ? step : step < 10 * MINUTE ? SECOND : MINUTE);
}

// spanText writes a time span, its day once if it is the same.
export function spanText(since, until, step) {
  const sameDay = new Date(since).toDateString() === new Date(until).toDateString();
  return `${moment(since, step, true)} – ${moment(until, step, !sameDay)}`;
}
