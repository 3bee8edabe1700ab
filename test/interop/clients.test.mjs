// Tests every version of the npm client on connections that stay open.

import assert from 'node:assert/strict'
import test from 'node:test'
import {
  END, assertSame, clients, client4, client6, indexed, numbered, range, start, write, writeAll
} from './harness.mjs'

const MEGABYTE = 1024 * 1024

for (const kind of clients) {
  test(`${kind.name} writes, and reads its own entries back`, async t => {
    const scene = await start(t)
    const client = await scene.client(kind)
    const entries = numbered(10)
    const indices = []
    for (const entry of entries) indices.push(await write(client, entry))
    assert.deepEqual(indices, range(1, 10), 'the indices that the callbacks get')
    await client.entries.untilCount(10)
    assertSame(client.entries.items, indexed(entries), 'readStream')
  })

  test(`${kind.name} sees current at once on an empty log`, async t => {
    const scene = await start(t)
    const client = await scene.client(kind)
    await client.currents.untilCount(1)
    assert.deepEqual(client.currents.items, [0])
  })

  test(`${kind.name} reads many entries, then current, then follows`, async t => {
    const scene = await start(t)
    const writer = await scene.client(client4)
    const before = numbered(2000)
    assertSame(await writeAll(writer, before), range(1, 2000), 'indices')

    const reader = await scene.client(kind)
    await reader.currents.untilCount(1)
    assert.equal(reader.currents.items[0], 2000, 'current comes after the 2,000 entries')

    const after = numbered(123, 'later')
    await writeAll(writer, after)
    await reader.entries.untilCount(2123)
    assertSame(reader.entries.items, indexed([...before, ...after]), 'readStream')
    // Client 4 reads once, so it is current once. Client 6 is current once per read.
    if (kind === client4) assert.equal(reader.currents.items.length, 1)
  })

  test(`${kind.name} reads on after the index given as from`, async t => {
    const scene = await start(t)
    const writer = await scene.client(client4)
    await writeAll(writer, numbered(50))
    // Despite the README of the clients, from is the last index that is not read.
    const reader = await scene.client(kind, { from: 40 })
    await reader.currents.untilCount(1)
    assertSame(reader.entries.items, indexed(numbered(50)).slice(40), 'readStream')
  })

  test(`${kind.name} waits for entries from beyond the head`, async t => {
    const scene = await start(t)
    const writer = await scene.client(client4)
    const reader = await scene.client(kind, { from: 5 })
    await reader.currents.untilCount(1)
    await writeAll(writer, numbered(20))
    await reader.entries.untilCount(15)
    assertSame(reader.entries.items, indexed(numbered(20)).slice(5), 'readStream')
  })

  for (const other of [client4, client6]) {
    test(`${kind.name} follows the entries of ${other.name}`, async t => {
      const scene = await start(t)
      const reader = await scene.client(kind)
      await reader.currents.untilCount(1)
      const writer = await scene.client(other)
      const entries = numbered(30)
      // One by one, so that each arrives alone.
      for (const [offset, entry] of entries.entries()) {
        assert.equal(await write(writer, entry), offset + 1)
        await reader.entries.untilCount(offset + 1)
      }
      assertSame(reader.entries.items, indexed(entries), 'readStream')
    })
  }

  test(`${kind.name} pipelines 1,000 writes on the connection it reads from`, async t => {
    const scene = await start(t)
    const client = await scene.client(kind)
    const entries = numbered(1000)
    assertSame(await writeAll(client, entries), range(1, 1000), 'indices')
    await client.entries.untilCount(1000)
    // One more, to show that no duplicate arrives before it.
    await write(client, END)
    await client.entries.until(items => items.at(-1).entry.end, 'the last entry')
    assertSame(client.entries.items, indexed([...entries, END]), 'readStream')
  })

  for (const [name, entry] of Object.entries(oddEntries())) {
    test(`${kind.name} gets back ${name} as written`, async t => {
      const scene = await start(t)
      const client = await scene.client(kind)
      assert.equal(await write(client, entry), 1)
      await client.entries.untilCount(1)
      assertSame(client.entries.items, indexed([entry]), 'while following')
      // Again for a later reader, which reads from the disk.
      const reader = await scene.client(kind)
      await reader.currents.untilCount(1)
      assertSame(reader.entries.items, indexed([entry]), 'from the log')
    })
  }
}

function oddEntries () {
  // 101 levels: the server accepts 128.
  let nested = {}
  for (let depth = 0; depth < 50; depth++) nested = { deeper: [nested] }
  return {
    'an empty object': {},
    'an empty array': [],
    'an array': [1, 'two', null, [true], { false: false }],
    'a null entry': null,
    'a nested entry': nested,
    'numbers': [1e21, 0.1, 1e-7, -1.5, 0, 2 ** 53, Number.MAX_VALUE, Number.MIN_VALUE],
    'unicode': { 'ключ 🗝': 'é e\u0301 日本語 😀 \u2028\u2029\ufeff', '': '\u0000\u001f\u007f' },
    'characters that JSON and HTML escape': ['"\\/\b\f\n\r\t<script>&\''],
    'the names of the protocol': {
      id: 'x', from: 1, read: 1, index: 7, entry: {}, current: true, head: 3, error: 'none'
    },
    'an entry of 1 MB': { large: 'é'.repeat(MEGABYTE / 2) },
    'an entry of 1 MB in small parts': numbered(MEGABYTE / 32)
  }
}
