// Members of entries as columns.
export function columns({onChange}) {
  return {
    chosen: [], // paths such as "order.total"
    chooser: document.createElement("div"),
    see(entryText) {}, // makes suggestions of its members
    cells(entryText) { return []; }, // a text for each of chosen
    set(paths) {},
  };
}

// download makes a Blob of lines, an async iterable of the protocol's lines
// {"index":…,"entry":…}. format is "ndjson" or "csv".
export async function download({lines, columns, format}) { return new Blob([]); }
