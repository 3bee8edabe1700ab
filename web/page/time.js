// Times as the protocol and as people write them; the ticks of an axis.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500].concat(
	[SECOND, MINUTE].flatMap(unit => [1, 2, 5, 10, 15, 30].map(n => n * unit)), [1, 2, 3, 6, 12].map(n => n * HOUR));

// instant is a time in ms, its µs as a fraction; iso is its text.
export function instant(text) {
	const [, micro = 0] = /\.\d{3}(\d{1,3})/.exec(text) ?? [];
	return Date.parse(text) + Number("0." + micro);
}
export function iso(ms) {
	const whole = Math.floor(ms), micro = Math.min(999, Math.round((ms - whole) * 1000));
	return new Date(whole).toISOString().slice(0, -1) + String(micro).padStart(3, "0") + "Z";
}

// local is local time as ISO writes it, clock its time of day as finely as a step of ms needs.
const zone = ms => new Date(ms).getTimezoneOffset() * MINUTE;
const local = ms => new Date(ms - zone(ms)).toISOString();
const clock = (ms, step) => local(ms).slice(11, step < SECOND ? 23 : step < MINUTE ? 19 : 16);

// ticks are round local times with labels, about most at most.
export function ticks(since, until, most) {
	const found = [], fits = step => (until - since) / step <= most;
	if (!(until > since && most >= 1)) return found;
	const add = (time, label) => time >= since && found.push({time: +time, label});
	const month = d => d.toLocaleDateString("en", {month: "short"}), day = d => `${d.getDate()} ${month(d)}`;
	const step = STEPS.find(fits);
	if (step) {
		const offset = zone(since); // local hours need not begin with those of UTC
		for (let t = Math.ceil((since - offset) / step) * step + offset; t < until; t += step) {
			const label = clock(t, step);
			add(t, step >= HOUR && label === "00:00" ? day(new Date(t)) : label);
		}
		return found;
	}
	const d = new Date(since), days = [1, 2, 7, 14].find(n => fits(n * DAY));
	const months = [1, 2, 3, 6, 12, 24, 60, 120, 1200].find(n => fits(n * 30.4 * DAY)) ?? 12000;
	d.setHours(0, 0, 0, 0);
	if (!days) d.setMonth(0, 1);
	for (; d < until; days ? d.setDate(d.getDate() + days) : d.setMonth(d.getMonth() + months)) {
		add(d, days ? day(d) : d.getMonth() ? month(d) : String(d.getFullYear()));
	}
	return found;
}

// spanText is a span as finely as a step of ms needs, its day once if it is the same.
export function spanText(since, until, step) {
	const fine = step < SECOND ? step : step < 10 * MINUTE ? SECOND : MINUTE;
	const [from, to] = [since, until].map(ms => `${local(ms).slice(0, 10)} ${clock(ms, fine)}`), day = from.slice(0, 11);
	return `${from} – ${to.replace(day, "")}`;
}
