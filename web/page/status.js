// The state of the server. fetchStat() has the answer of GET /stat.
export function status(element, {fetchStat, onRefused}) {
  return {start() {}, stop() {}, latest: null};
}
