// Readers of every kind must see the same entries while writers write.

import assert from 'node:assert/strict'
import test from 'node:test'
import {
  END, assertSame, clients, client4, client6, numbered, range, start, writeAll
} from './harness.mjs'

const COUNT = 400

test('all readers see the same entries while others write concurrently', async t => {
  const scene = await start(t)
  const writers = []
  for (const kind of [client4, client6, client4, client6]) writers.push(await scene.client(kind))
  const readers = []
  for (const kind of clients) readers.push(await scene.client(kind))

  const writing = writers.map((client, number) => writeAll(client, numbered(COUNT, number)))
  // These begin to read during the writing.
  for (const kind of clients) {
    await readers[0].entries.untilCount(COUNT * (readers.length - clients.length + 1) / 2)
    readers.push(await scene.client(kind))
  }
  const indices = await Promise.all(writing)

  const total = writers.length * COUNT
  const everyone = [...writers, ...readers]
  for (const client of everyone) await client.entries.untilCount(total)
  // Everything before the last entry has arrived, so no duplicate can follow.
  await writeAll(writers[0], [END])
  for (const client of everyone) {
    await client.entries.until(items => items.at(-1).entry.end, 'the last entry')
  }

  const [{ entries: { items: expected } }] = readers
  assertSame(expected.map(({ index }) => index), range(1, total + 1), 'indices that were read')
  for (const client of everyone) assertSame(client.entries.items, expected, client.name)
  for (const [number, own] of indices.entries()) {
    // Acknowledged with its index, in the order of writing.
    assertSame(
      own.map(index => expected[index - 1].entry),
      numbered(COUNT, number),
      `entries at the indices that writer ${number} was told`
    )
    assert.ok(own.every((index, i) => i === 0 || index > own[i - 1]), 'order of writing')
  }
})
