// Following over HTTP: as lines and as server-sent events, over a restart of the server too.

import assert from 'node:assert/strict'
import test from 'node:test'
import { EventSource } from 'eventsource'
import { Collector, assertSame, range, untilEvent } from './harness.mjs'
import { httpClients, LINES_TYPE, startHTTP } from './http.mjs'

// Appends entries { n } with these n.
async function append (scene, numbers) {
  const body = numbers.map(n => `{"n":${n}}\n`).join('')
  const response = await fetch(scene.url + '/entries?batch', { method: 'POST', headers: LINES_TYPE, body })
  assert.equal(response.status, 201, await response.text())
}

// The lines, and the lines of the events, of entries { n } at the index n.
const line = n => `{"index":${n},"entry":{"n":${n}}}`
const event = n => [`id: ${n}`, `data: ${line(n)}`, '']
const current = ['event: current', 'data: {"current":true}', '']
const EVENTS = { Accept: 'text/event-stream' }

for (const kind of httpClients) {
  const skip = kind.missing()

  test(`${kind.name} follows lines`, { skip }, async t => {
    const scene = await startHTTP(t)
    const client = kind.open(scene)
    await append(scene, [1, 2])
    const all = client.follow('/entries?from=1&follow')
    const some = client.follow('/entries?from=2&read=3&follow=true')
    await all.texts.untilCount(3)
    await some.texts.untilCount(2)
    for (const n of [3, 4]) {
      await append(scene, [n])
      await all.texts.untilCount(n + 1)
    }
    assert.equal((await some.ended()).code, 0)
    assert.deepEqual(some.texts.items, [line(2), '{"current":true}', line(3), line(4), '{"head":4}'])
    await append(scene, [5])
    await all.texts.untilCount(6)
    assertSame(all.texts.items, [line(1), line(2), '{"current":true}', line(3), line(4), line(5)], 'lines')
    all.stop()
  })

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`${kind.name} follows events, and goes on after a ${signal} by Last-Event-ID`, { skip }, async t => {
      const scene = await startHTTP(t)
      const client = kind.open(scene)
      await append(scene, [1, 2])
      const first = client.follow('/entries?from=1', EVENTS)
      await first.texts.untilCount(9)
      await append(scene, [3])
      await first.texts.untilCount(12)
      assertSame(first.texts.items, [...event(1), ...event(2), ...current, ...event(3)], 'lines')

      await scene.restart(signal)
      await append(scene, [4])
      assert.equal((await first.ended()).code !== 0, kind.tells, 'an answer that broke off is an error')
      const rest = first.texts.items.slice(12)
      if (signal === 'SIGTERM') assert.deepEqual(rest, ['event: error', 'data: {"error":"the server is shutting down"}', ''])
      else assert.deepEqual(rest, [])

      const second = client.follow('/entries?from=1&read=2', { ...EVENTS, 'Last-Event-ID': '3' })
      await second.texts.untilCount(6)
      await append(scene, [5])
      assert.equal((await second.ended()).code, 0)
      assertSame(second.texts.items, [...event(4), ...current, ...event(5), 'event: head', 'data: {"head":5}', ''], 'lines')
    })
  }
}

// An EventSource, the indices of what it gets, and how often it was at the head.
function open (scene, query) {
  const source = new EventSource(scene.url + '/entries' + query)
  scene.after(() => source.close())
  const indices = new Collector('indices of the EventSource')
  const currents = new Collector('times at the head')
  source.addEventListener('message', ({ data, lastEventId }) => {
    const { index, entry } = JSON.parse(data)
    assert.deepEqual([lastEventId, entry], [String(index), { n: index }])
    indices.push(index)
  })
  source.addEventListener('current', () => currents.push(indices.items.length))
  return { source, indices, currents }
}

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`an EventSource goes on after a ${signal}`, async t => {
    const scene = await startHTTP(t)
    await append(scene, range(1, 20))
    const { indices, currents } = open(scene, '?from=11')
    await currents.untilCount(1)
    await append(scene, range(21, 30))
    await indices.untilCount(20)
    await scene.restart(signal)
    await append(scene, range(31, 40)) // before it has connected again
    await currents.untilCount(2)
    await append(scene, range(41, 50))
    await indices.untilCount(40)
    assertSame(indices.items, range(11, 50), 'indices')
    assert.deepEqual(currents.items, [10, 30])
  })
}

test('an EventSource is told the end of a bounded read', async t => {
  const scene = await startHTTP(t)
  await append(scene, range(1, 3))
  const { source, indices } = open(scene, '?from=1&through=3')
  const { data } = await untilEvent({ once: (name, listener) => source.addEventListener(name, listener, { once: true }) }, 'head', 'the event head')
  source.close()
  assert.deepEqual([indices.items, data], [[1, 2, 3], '{"head":3}'])
})
