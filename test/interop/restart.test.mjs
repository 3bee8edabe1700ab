// The clients reconnect on their own, and continue where they were.

import assert from 'node:assert/strict'
import test from 'node:test'
import {
  Collector, END, assertSame, clients, client4, client6, indexed, numbered, range, start, untilEvent,
  write, writeAll
} from './harness.mjs'

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`entries and idle clients outlive a ${signal}`, async t => {
    const scene = await start(t)
    const readers = []
    for (const kind of clients) readers.push(await scene.client(kind))
    const before = numbered(20)
    assertSame(await writeAll(readers[0], before), range(1, 20), 'indices')
    for (const reader of readers) await reader.entries.untilCount(20)

    const ready = readers.map(reader => untilEvent(reader, 'ready', `${reader.name} to reconnect`))
    await scene.restart(signal)
    await Promise.all(ready)

    const after = numbered(20, 'later')
    for (const [offset, entry] of after.entries()) {
      assert.equal(await write(readers[offset % readers.length], entry), 21 + offset)
    }
    for (const reader of readers) {
      await reader.entries.untilCount(40)
      assertSame(reader.entries.items, indexed([...before, ...after]), reader.name)
    }
  })

  test(`nothing acknowledged is lost or doubled by a ${signal} amid writes`, async t => {
    const scene = await start(t)
    const readers = []
    for (const kind of clients) readers.push(await scene.client(kind))
    const writers = []
    for (const kind of [client4, client6]) writers.push(new Writer(await scene.client(kind)))

    for (let restart = 1; restart <= 3; restart++) {
      for (const writer of writers) await writer.untilMore(150)
      const everyone = [...readers, ...writers.map(writer => writer.client)]
      const ready = everyone.map(client => untilEvent(client, 'ready', `${client.name} to reconnect`))
      await scene.restart(signal)
      await Promise.all(ready)
    }
    for (const writer of writers) await writer.untilMore(150)
    for (const writer of writers) await writer.finish()

    const end = await write(writers[0].client, END)
    for (const reader of readers) {
      await reader.entries.until(items => items.at(-1)?.index >= end, `index ${end}`)
    }
    const [{ entries: { items: expected } }] = readers
    assertSame(expected.map(({ index }) => index), range(1, end), 'indices that were read')
    for (const reader of readers) assertSame(reader.entries.items, expected, reader.name)
    const texts = expected.map(({ entry }) => JSON.stringify(entry))
    assert.equal(new Set(texts).size, texts.length, 'no entry has two indices')
    for (const writer of writers) {
      const acknowledged = writer.acknowledged.items
      assertSame(
        acknowledged.map(({ index }) => expected[index - 1]),
        acknowledged,
        `acknowledged to ${writer.client.name}`
      )
    }
  })
}

// Keeps some writes in flight whenever it is connected.
class Writer {
  #number = 0
  #wanted = Infinity

  constructor (client) {
    this.client = client
    this.acknowledged = new Collector(`acknowledgments of ${client.name}`)
    this.settled = new Collector(`settled writes of ${client.name}`)
    this.ready = true
    // Not client.connected: that is true again once the client tries to
    // reconnect, while writes still go to the old connection and are never
    // called back.
    client.on('ready', () => {
      this.ready = true
      this.#write()
    })
    client.on('disconnect', () => { this.ready = false })
    this.#write()
  }

  untilMore (count) {
    return this.acknowledged.untilCount(this.acknowledged.items.length + count)
  }

  finish () {
    this.#wanted = 0
    return this.settled.untilCount(this.#number)
  }

  #write () {
    while (this.ready && this.client.connected && this.#inFlight < Math.min(20, this.#wanted)) {
      const entry = { writer: this.client.name, number: this.#number++ }
      this.client.write(entry, (error, index) => {
        // After an error it is unknown whether the entry is in the log. It may be
        // there once, so it is not written again.
        if (!error) this.acknowledged.push({ index, entry })
        this.settled.push(entry)
        this.#write()
      })
    }
  }

  get #inFlight () {
    return this.#number - this.settled.items.length
  }
}
