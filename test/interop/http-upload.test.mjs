// Streams of entries over HTTP, long ones too.

import assert from 'node:assert/strict'
import test from 'node:test'
import { range } from './harness.mjs'
import { httpClients, LINES_TYPE, startHTTP } from './http.mjs'

for (const kind of httpClients) {
  const skip = kind.missing()

  test(`${kind.name} gets replies while it sends`, { skip: skip ?? (kind.reads ? false : 'it reads when it has sent everything') }, async t => {
    const scene = await startHTTP(t)
    const upload = kind.open(scene).upload('/entries', LINES_TYPE)
    // curl reads nothing while it waits for input, so there has to be more until a reply comes.
    let sent = 0
    const more = setInterval(() => upload.send(`{"n":${++sent}}\n`), 20)
    t.after(() => clearInterval(more))
    await upload.texts.untilCount(3)
    clearInterval(more)
    upload.send(`{"n":${++sent}}`) // without a newline
    upload.end()
    assert.equal((await upload.ended()).code, 0)
    assert.deepEqual(upload.texts.items, range(1, sent).map(index => `{"index":${index}}`))
  })

  // Whatever reads only at the end, as urllib does, leaves all replies in the server.
  test(`${kind.name} sends 100,000 lines`, { skip }, async t => {
    const scene = await startHTTP(t)
    const upload = kind.open(scene).upload('/entries', LINES_TYPE)
    upload.send(range(1, 100_000).map(n => `{"n":${n}}\n`).join(''))
    upload.end()
    const { code, error } = await upload.ended()
    assert.equal(code, 0, error)
    const wrong = upload.texts.items.findIndex((text, offset) => text !== `{"index":${offset + 1}}`)
    assert.deepEqual([wrong, upload.texts.items.length], [-1, 100_000], upload.texts.items[wrong])
  })
}
