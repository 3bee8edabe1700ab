// What the page's blake3.js returns, compared with the server's implementation: go test ./web
// writes the file that BLAKE3_VECTORS names, a line {"bytes":base64,"hash":hex} each.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import test from "node:test";

import {blake3} from "../../../web/page/blake3.js";

test("the hash of nothing, as the paper's test vectors have it", () => {
  assert.equal(blake3(new Uint8Array(0)), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
});

const vectors = process.env.BLAKE3_VECTORS;
test("the same hashes as the server", {skip: !vectors && "BLAKE3_VECTORS is not set: run go test ./web -run TestModules"}, () => {
  const lines = readFileSync(vectors, "utf8").trim().split("\n");
  for (const line of lines) {
    const {bytes, hash} = JSON.parse(line), input = Buffer.from(bytes, "base64");
    assert.equal(blake3(new Uint8Array(input)), hash, `${input.length} bytes`);
  }
  assert.ok(lines.length > 50, `only ${lines.length} vectors`);
});

test("a view into a larger buffer is hashed by itself", () => {
  const buffer = new Uint8Array(5000).map((_, i) => i);
  assert.equal(blake3(buffer.subarray(3, 4003)), blake3(buffer.slice(3, 4003)));
});
