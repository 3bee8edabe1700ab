// Tests the protocol without a client: what clients do not do, or hide.

import assert from 'node:assert/strict'
import test from 'node:test'
import { assertSame, indexed, numbered, range, start } from './harness.mjs'

// The messages of pipelined writes, and their acknowledgments.
function writes (entries) {
  return entries.map((entry, offset) => ({ id: `id ${offset}`, entry }))
}
function acknowledgments (count, first = 1) {
  return range(1, count).map(number => ({ id: `id ${number - 1}`, index: first + number - 1 }))
}

test('a half-closed connection gets all acknowledgments, then the end', async t => {
  const scene = await start(t)
  const connection = await scene.raw()
  connection.send(...writes(numbered(500)))
  connection.end()
  await connection.untilEnd()
  assertSame(connection.messages.items, acknowledgments(500), 'messages')

  const reader = await scene.raw()
  reader.send({ from: 1, read: 500 })
  await reader.messages.untilCount(501)
  assertSame(reader.messages.items, [...indexed(numbered(500)), { head: 500 }], 'messages')
})

test('a half-close ends a connection that follows', async t => {
  const scene = await start(t)
  for (const read of [{ from: 1 }, { from: 1, read: 5 }]) {
    const connection = await scene.raw()
    connection.send(read)
    await connection.messages.untilCount(1)
    assert.deepEqual(connection.messages.items, [{ current: true }])
    // This is all that client.destroy() does: without an answer, the client's
    // process would never exit.
    connection.end()
    await connection.untilEnd()
  }
})

test('a streaming read sends entries, current once, and follows', async t => {
  const scene = await start(t)
  const writer = await scene.raw()
  writer.send(...writes(numbered(100)))
  await writer.messages.untilCount(100)
  const reader = await scene.raw()
  reader.send({ from: 91 })
  await reader.messages.untilCount(11)
  writer.send(...writes(numbered(10, 'later')))
  await reader.messages.untilCount(21)
  assertSame(reader.messages.items, [
    ...indexed(numbered(100)).slice(90),
    { current: true },
    ...indexed(numbered(10, 'later'), 101)
  ], 'messages')
})

test('a bounded read says current at the head, goes on, and ends with the head', async t => {
  const scene = await start(t)
  const writer = await scene.raw()
  writer.send(...writes(numbered(3)))
  await writer.messages.untilCount(3)

  const reader = await scene.raw()
  reader.send({ from: 1, read: 5 })
  await reader.messages.untilCount(4)
  writer.send(...writes(numbered(1, 'later')))
  await reader.messages.untilCount(5)
  writer.send(...writes(numbered(1, 'last')))
  await reader.messages.untilCount(7)
  // The same connection reads again, exactly to the head, so without current.
  reader.send({ from: 2, read: 4 })
  await reader.messages.untilCount(12)

  const entries = indexed([...numbered(3), ...numbered(1, 'later'), ...numbered(1, 'last')])
  assertSame(reader.messages.items, [
    ...entries.slice(0, 3), { current: true }, ...entries.slice(3), { head: 5 },
    ...entries.slice(1), { head: 5 }
  ], 'messages')
})

// The npm server accepted these. Clients hide a refusal: no version calls the
// callback of the write, and only version 6 emits an error.
const refused = {
  'lone surrogate': ['\ud800'],
  'more than 128 levels': JSON.parse('['.repeat(129) + ']'.repeat(129))
}

for (const [name, entry] of Object.entries(refused)) {
  test(`an entry is refused for ${name}, and the connection goes on`, async t => {
    const scene = await start(t)
    const connection = await scene.raw()
    connection.send({ id: 'refused', entry }, { id: 'next', entry: {} })
    await connection.messages.untilCount(2)
    // By id, since the order of the answers is not specified.
    const { items } = connection.messages
    const { error, ...refusal } = items.find(({ id }) => id === 'refused')
    assert.deepEqual(refusal, { id: 'refused' }, 'an error, and no index')
    assert.match(error, new RegExp(name))
    assert.deepEqual(items.find(({ id }) => id === 'next'), { id: 'next', index: 1 })
  })
}
