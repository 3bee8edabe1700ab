// How many entries were stored when.
// fetchCounts(since, until, buckets) has the answer of GET /histogram; since and until are ISO or null.
export function histogram(element, {fetchCounts, onSelect, onClear}) {
  return {refresh() {}, mark(time) {}};
}
