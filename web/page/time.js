// Times: those of the protocol, which have microseconds, those that people read, and the ticks of an axis.

const UNIT = {ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000};
const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map(n => n * UNIT.ms), ...[1, 2, 5, 10, 15, 30].map(n => n * UNIT.s),
  ...[1, 2, 5, 10, 15, 30].map(n => n * UNIT.min), ...[1, 2, 3, 6, 12].map(n => n * UNIT.h),
];
const DAYS = [1, 2, 7, 14], MONTHS = [1, 2, 3, 6, 12, 24, 60, 120];
const NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = n => String(n).padStart(2, "0");

// instant is a time in ms, with its µs as a fraction; iso is one as text, in µs.
export function instant(text) {
  const fraction = /\.(\d{3})(\d{1,3})/.exec(text);
  return Date.parse(text) + (fraction ? Number(`0.${fraction[2]}`) : 0);
}
export function iso(ms) {
  const whole = Math.floor(ms), micro = Math.min(999, Math.round((ms - whole) * 1000));
  return new Date(whole).toISOString().slice(0, -1) + String(micro).padStart(3, "0") + "Z";
}

// ticks are times in ms with labels, local and round, at most most of them.
export function ticks(since, until, most) {
  const span = until - since, found = [], fits = step => span / step <= most;
  if (!(span > 0) || most < 1) return found;
  const step = STEPS.find(fits);
  if (step) {
    // Local hours need not begin with those of UTC, and change with summer time.
    const zone = new Date(since).getTimezoneOffset() * UNIT.min;
    for (let t = Math.ceil((since - zone) / step) * step + zone; t < until; t += step) {
      const d = new Date(t);
      let label = `${two(d.getHours())}:${two(d.getMinutes())}`;
      if (step >= UNIT.h && label === "00:00") label = `${d.getDate()} ${NAMES[d.getMonth()]}`;
      else if (step < UNIT.min) label += `:${two(d.getSeconds())}`;
      if (step < UNIT.s) label += `.${String(d.getMilliseconds()).padStart(3, "0")}`;
      found.push({time: t, label});
    }
    return found;
  }
  const first = new Date(since), days = DAYS.find(n => fits(n * UNIT.d));
  const months = MONTHS.find(n => fits(n * 30.4 * UNIT.d)) ?? 12 * 10 ** Math.ceil(Math.log10(span / most / (365 * UNIT.d)));
  const d = days ? new Date(first.getFullYear(), first.getMonth(), first.getDate() + 1)
    : new Date(first.getFullYear() - first.getFullYear() % Math.max(1, months / 12), 0, 1);
  while (d < until) {
    const january = d.getMonth() === 0 && (!days || d.getDate() === 1);
    if (d >= since) found.push({time: +d, label: january && !days ? String(d.getFullYear()) : (days ? `${d.getDate()} ` : "") + NAMES[d.getMonth()]});
    if (days) d.setDate(d.getDate() + days);
    else d.setMonth(d.getMonth() + months);
  }
  return found;
}

// moment writes a local time as finely as a bucket of ms needs it.
export function moment(time, ms, withDay) {
  const d = new Date(time);
  let text = withDay ? `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ` : "";
  text += `${two(d.getHours())}:${two(d.getMinutes())}`;
  if (ms < 10 * UNIT.min) text += `:${two(d.getSeconds())}`;
  if (ms < UNIT.s) text += `.${String(d.getMilliseconds()).padStart(3, "0")}`;
  return text;
}

// spanText writes a time span as finely as a bucket of ms needs it, its day once if it is the same.
export function spanText(since, until, ms) {
  const sameDay = new Date(since).toDateString() === new Date(until).toDateString();
  return `${moment(since, ms, true)} – ${moment(until, ms, !sameDay)}`;
}
