// Who may do what over HTTP: tokens, sessions, the names of the server and other sites.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { httpClients, JSON_TYPE, lines, startHTTP } from './http.mjs'

// A file of tokens, of which each is its name.
async function tokens (t, rights) {
  const folder = await mkdtemp(path.join(tmpdir(), 'tcp-log-interop-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'tokens.txt')
  const write = rights => writeFile(file, Object.entries(rights).map(([name, may]) =>
    `${name} ${createHash('sha256').update(name).digest('hex')} ${may}\n`).join(''))
  await write(rights)
  return { file, write }
}

const bearer = token => ({ Authorization: `Bearer ${token}` })
const ONE = { body: '{"n":1}' }

for (const kind of httpClients) {
  const skip = kind.missing()

  test(`${kind.name} shows a token`, { skip }, async t => {
    const { file } = await tokens(t, { ann: 'both', bob: 'read', cem: 'write' })
    const scene = await startHTTP(t, { TOKENS: file })
    const client = kind.open(scene)
    const post = headers => client.request('POST', '/entries', { headers: { ...JSON_TYPE, ...headers }, ...ONE })
    const get = (path, headers) => client.request('GET', path, { headers })

    for (const headers of [{}, bearer('eve'), { Authorization: 'Basic YW5uOmFubg==' }]) {
      for (const answer of [await post(headers), await get('/entries', headers), await get('/entries/1', headers), await get('/head', headers), await get('/stat', headers)]) {
        assert.deepEqual([answer.status, lines(answer.body)], [401, [{ error: 'unauthorized' }]])
        assert.equal(answer.headers['www-authenticate'], 'Bearer')
      }
    }
    for (const path of ['/healthz', '/readyz', '/']) assert.equal((await get(path, {})).status, 200, path)

    assert.equal((await post(bearer('ann'))).body, '{"index":1}\n')
    assert.equal((await post(bearer('cem'))).body, '{"index":2}\n')
    const refused = await post(bearer('bob'))
    assert.equal(refused.status, 403)
    assert.match(refused.body, /not stored: unauthorized/)

    for (const name of ['ann', 'bob']) {
      assert.equal((await get('/entries', bearer(name))).body, '{"index":1,"entry":{"n":1}}\n{"index":2,"entry":{"n":1}}\n{"head":2}\n')
      assert.equal((await get('/entries/2', bearer(name))).body, '{"n":1}')
      assert.equal((await get('/head', bearer(name))).body, '{"head":2}\n')
    }
    for (const path of ['/entries', '/entries/1', '/head', '/histogram']) assert.equal((await get(path, bearer('cem'))).status, 403, path)
  })

  test(`${kind.name} logs in and out`, { skip }, async t => {
    const { file, write } = await tokens(t, { ann: 'both', bob: 'read' })
    const scene = await startHTTP(t, { TOKENS: file })
    const client = kind.open(scene)
    const session = async headers => {
      const { status, body } = await client.request('GET', '/session', { headers })
      assert.equal(status, 200)
      return lines(body)[0]
    }
    const login = token => client.request('POST', '/session', { headers: JSON_TYPE, body: JSON.stringify({ token }) })
    const nothing = { access: 'token', rights: { read: false, write: false } }
    assert.deepEqual(await session({}), nothing)
    assert.deepEqual(await session(bearer('bob')), { access: 'token', rights: { read: true, write: false }, name: 'bob' })
    assert.equal((await login('eve')).status, 401)

    const { status, headers } = await login('ann')
    assert.equal(status, 204)
    const [pair, ...attributes] = headers['set-cookie'].split('; ')
    assert.deepEqual(attributes, ['Path=/', 'HttpOnly', 'SameSite=Strict'])
    const cookie = { Cookie: pair }
    assert.deepEqual(await session(cookie), { access: 'token', rights: { read: true, write: true }, name: 'ann' })
    const post = headers => client.request('POST', '/entries', { headers: { ...JSON_TYPE, ...headers }, ...ONE })
    assert.equal((await post(cookie)).status, 201)
    const follower = client.follow('/entries?from=1&follow', cookie)
    await follower.texts.untilCount(2)

    const { headers: other } = await login('ann')
    const second = { Cookie: other['set-cookie'].split('; ')[0] }
    assert.equal((await client.request('DELETE', '/session', { headers: second })).status, 204)
    assert.deepEqual(await session(second), nothing)
    assert.equal((await post(second)).status, 401)
    assert.equal((await post(cookie)).status, 201)

    // Without the token's line in the file the session ends, and what it follows.
    await write({ bob: 'read' })
    scene.server.child.kill('SIGHUP')
    await follower.ended()
    assert.equal(follower.texts.items[0], '{"index":1,"entry":{"n":1}}')
    assert.equal((await post(cookie)).status, 401)
    assert.deepEqual(await session(cookie), nothing)
  })

  test(`${kind.name} calls the server by name, and from other sites`, { skip }, async t => {
    const scene = await startHTTP(t, { HTTP_NAMES: 'log.example', HTTP_ORIGINS: 'https://app.example' })
    const client = kind.open(scene)
    const post = headers => client.request('POST', '/entries', { headers: { ...JSON_TYPE, ...headers }, ...ONE })
    assert.equal((await post({ Origin: 'https://evil.example' })).status, 403)
    const { status, headers } = await post({ Origin: 'https://app.example' })
    assert.deepEqual([status, headers['access-control-allow-origin']], [201, 'https://app.example'])
    if (kind.name === 'fetch') return // it does not let its user choose the Host
    assert.equal((await post({ Host: 'evil.example' })).status, 421)
    for (const Host of ['localhost', 'log.example', 'LOG.example:8090', '127.0.0.1:1']) assert.equal((await post({ Host })).status, 201, Host)
  })
}
