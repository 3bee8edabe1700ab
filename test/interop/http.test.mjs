// Every request of docs/HTTP.md but those that follow, with each client.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { httpClients, JSON_TYPE, lacks, LINES_TYPE, lines, startHTTP } from './http.mjs'

// Checks an answer with JSON: its status and the object in it, whose error is a regular
// expression.
async function expect (answering, status, want) {
  const { status: got, headers, body } = await answering
  assert.equal(got, status, body)
  assert.match(headers['content-type'], /^application\/json/)
  const [object] = lines(body)
  if (want?.error) {
    assert.match(object.error, want.error)
    want = { ...want, error: object.error }
  }
  if (want) assert.deepEqual(object, want)
  return { headers, object }
}

for (const kind of httpClients) {
  const skip = kind.missing()
  const begin = async (t, settings) => {
    const scene = await startHTTP(t, settings)
    return { scene, client: kind.open(scene) }
  }

  test(`${kind.name} appends one`, { skip }, async t => {
    const { client } = await begin(t)
    const post = (query, value) => client.request('POST', '/entries' + query, { headers: JSON_TYPE, body: JSON.stringify(value) })
    const { headers } = await expect(post('', { user: 'ann', amount: 5 }), 201, { index: 1 })
    assert.equal(headers.location, '/entries/1')

    const { object } = await expect(post('?receipt', ['ü']), 201)
    assert.deepEqual(object, { index: 2, time: object.time, hash: object.hash })
    assert.match(object.time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    assert.match(object.hash, /^[0-9a-f]{64}$/)
    const { headers: stored } = await client.request('GET', '/entries/2')
    assert.equal(stored.etag, `"${object.hash}"`)

    await expect(post('?if=2', [3]), 201, { index: 3 })
    await expect(post('?if=2', [4]), 409, { error: /^not stored: the head is 3, not 2$/, head: 3 })
    await expect(post('?if=3', [4]), 201, { index: 4 })

    await expect(post('?once', { order: 7 }), 201, { index: 5 })
    const { headers: seen } = await expect(post('?once', { order: 7 }), 200, { index: 5, seen: true })
    assert.equal(seen.location, '/entries/5')
    await expect(post('?once=false&receipt=false', { order: 7 }), 201, { index: 6 })

    await expect(post('?if=6&once', [1]), 400, { error: /^not stored: .*"if" and "once"/ })
    await expect(post('?batch', [1]), 400, { error: /^not stored: .*application\/x-ndjson/ })
    await expect(post('?if=x', [1]), 400, { error: /^not stored: "if" is "x"/ })
    await expect(post('?form=1', [1]), 400, { error: /^not stored: .*"form"/ })
    await expect(client.request('GET', '/head'), 200, { head: 6 })
  })

  test(`${kind.name} appends batches`, { skip }, async t => {
    const { client } = await begin(t)
    const post = (query, body) => client.request('POST', '/entries?batch' + query, { headers: LINES_TYPE, body })
    const { headers } = await expect(post('', '[1]\n[2]\n[3]\n'), 201, { index: 1, count: 3 })
    assert.equal(headers.location, '/entries/1')
    const { object } = await expect(post('&receipt', '[4]\n[5]'), 201)
    assert.deepEqual(object, { index: 4, count: 2, time: object.time, hashes: object.hashes })
    assert.equal(object.hashes.length, 2)
    await expect(post('&if=5', '[6]\n[7]\n'), 201, { index: 6, count: 2 })
    await expect(post('&if=5', '[8]\n[9]\n'), 409, { error: /^not stored: the head is 7, not 5$/, head: 7 })
    await expect(post('', '[8]\n{"a":\n'), 422, { error: /^not stored: / })
    await expect(post('&once', '[1]\n'), 400, { error: /^not stored: .*"batch" and "once"/ })
    await expect(client.request('GET', '/head'), 200, { head: 7 })
  })

  test(`${kind.name} appends lines`, { skip }, async t => {
    const { client } = await begin(t)
    const post = async (query, body) => {
      const { status, headers, body: got } = await client.request('POST', '/entries' + query, { headers: LINES_TYPE, body })
      assert.equal(status, 200, got)
      assert.equal(headers['content-type'], 'application/x-ndjson')
      return lines(got)
    }
    const [first, refused, last, ...more] = await post('', '{"n":1}\n{"n":\n{"n":3}')
    assert.deepEqual([first, last, more], [{ index: 1 }, { index: 2 }, []])
    assert.match(refused.error, /^not stored: .*byte/)
    assert.deepEqual(await post('?once', '{"n":3}\n{"n":4}\n'), [{ index: 2, seen: true }, { index: 3 }])
    const [receipt] = await post('?receipt', '[5]\n')
    assert.deepEqual(receipt, { index: 4, time: receipt.time, hash: receipt.hash })
    assert.deepEqual(await post('', ''), [])
    await expect(client.request('POST', '/entries?if=4', { headers: LINES_TYPE, body: '[1]\n' }), 400, { error: /^not stored: "if" needs "batch"/ })
  })

  test(`${kind.name} is told what cannot be stored`, { skip }, async t => {
    const { client } = await begin(t, { MAX_ENTRY: '1000' })
    const post = (body, headers = JSON_TYPE, query = '') => client.request('POST', '/entries' + query, { headers, body })
    const long = size => JSON.stringify(['x'.repeat(size - 4)])
    await expect(post(long(1000)), 201, { index: 1 })
    // Beyond the limit for an entry, and beyond what is read of one.
    for (const size of [1001, 50_000, 500_000]) await expect(post(long(size)), 413, { error: /^not stored: / })
    await expect(post(long(1000) + '\n' + long(1001), LINES_TYPE, '?batch'), 413, { error: /^not stored: / })

    await expect(post('{"a":1,}'), 422, { error: /^not stored: .*at byte 7/ })
    await expect(post('["\\ud800"]'), 422, { error: /^not stored: .*surrogate/ })
    await expect(post('['.repeat(129) + ']'.repeat(129)), 422, { error: /^not stored: .*128 levels/ })
    await expect(post(''), 422, { error: /^not stored: the body is empty/ })
    await expect(post('[1] [2]'), 422, { error: /^not stored: / })

    for (const headers of [
      { 'Content-Type': 'text/plain' }, { 'Content-Type': 'application/x-www-form-urlencoded' },
      { 'Content-Type': 'application/json; charset=latin1' }, { ...JSON_TYPE, 'Content-Encoding': 'gzip' }
    ]) await expect(post('[1]', headers), 415, { error: /^not stored: the Content-Type is .*, want application\/json/ })
    await expect(post('[1]', { 'Content-Type': 'application/json; charset=utf-8' }), 201, { index: 2 })
    await expect(client.request('GET', '/head'), 200, { head: 2 })
  })

  test(`${kind.name} reads`, { skip }, async t => {
    const { client } = await begin(t)
    const before = new Date().toISOString()
    const entries = ['{"n":1,"user":"ann"}', '{"n":2,"user":"bob"}', '{"n":3,"user":"ann"}', '["ü\\n"]']
    await expect(client.request('POST', '/entries?batch', { headers: LINES_TYPE, body: entries.join('\n') }), 201, { index: 1, count: 4 })
    const line = index => `{"index":${index},"entry":${entries[index - 1]}}\n`
    const end = '{"head":4}\n'
    const filter = 'where=' + encodeURIComponent('{"user":"ann"}')
    for (const [query, want] of [
      ['', line(1) + line(2) + line(3) + line(4) + end],
      ['?from=3', line(3) + line(4) + end],
      ['?from=1&read=2', line(1) + line(2) + end],
      ['?from=5', end],
      ['?from=100', end],
      ['?last=1', line(4) + end],
      ['?last=2&read=1', line(3) + end],
      ['?through=2', line(1) + line(2) + end],
      ['?from=2&through=3', line(2) + line(3) + end],
      [`?since=${before}`, line(1) + line(2) + line(3) + line(4) + end],
      ['?since=9999-12-31T23:59:59Z', end],
      [`?${filter}`, line(1) + line(3) + end],
      [`?from=2&${filter}`, line(3) + end],
      [`?${filter}&scan=2`, line(1) + '{"head":4,"next":3}\n']
    ]) {
      const { status, headers, body } = await client.request('GET', '/entries' + query)
      assert.deepEqual([status, body], [200, want], query)
      assert.equal(headers['content-type'], 'application/x-ndjson')
    }
    const head = await client.request('HEAD', '/entries?from=3')
    assert.deepEqual([head.status, head.headers['content-type'], head.body], [200, 'application/x-ndjson', ''])
    const { body } = await client.request('GET', '/entries?last=1&time&hash=true')
    const [{ time, hash, ...rest }, ...more] = lines(body)
    assert.deepEqual([rest, more], [{ index: 4, entry: ['ü\n'] }, [{ head: 4 }]])
    const stored = Date.parse(time) // in whole milliseconds, as before is
    assert.ok(Date.parse(before) <= stored && stored <= Date.now(), `${time} is from ${before} on`)
    assert.match(hash, /^[0-9a-f]{64}$/)

    for (const [query, error] of [
      ['?from=0', /^"from" is 0, want /], ['?from=1&last=1', /"from" and "last"/], ['?since=yesterday', /^"since" is "yesterday"/],
      ['?where=[]', /^"where" is an array/], ['?scan=1', /"scan" without "where"/], ['?time=1', /^"time" is "1"/], ['?form=1', /"form"/]
    ]) await expect(client.request('GET', '/entries' + query), 400, { error })
  })

  test(`${kind.name} reads one entry`, { skip }, async t => {
    const { client } = await begin(t)
    await expect(client.request('POST', '/entries', { headers: JSON_TYPE, body: '{ "b": "ü", "a": 1.0 }' }), 201, { index: 1 })
    const { status, headers, body } = await client.request('GET', '/entries/1')
    assert.deepEqual([status, body], [200, '{"a":1,"b":"ü"}'])
    const told = { 'content-type': 'application/json', 'content-length': '16', 'x-log-index': '1', 'cache-control': 'private, max-age=31536000, immutable' }
    for (const [name, value] of Object.entries(told)) assert.equal(headers[name], value, name)
    assert.match(headers.etag, /^"[0-9a-f]{64}"$/)
    assert.ok(Math.abs(Date.parse(headers['last-modified']) - Date.now()) < 60_000, headers['last-modified'])

    const head = await client.request('HEAD', '/entries/1')
    assert.deepEqual([head.status, head.body, head.headers.etag, head.headers['content-length']], [200, '', headers.etag, '16'])
    for (const [condition, want] of [
      [{ 'If-None-Match': headers.etag }, 304], [{ 'If-None-Match': `"x", ${headers.etag}` }, 304], [{ 'If-None-Match': '"x"' }, 200],
      [{ 'If-Modified-Since': headers['last-modified'] }, 304], [{ 'If-Modified-Since': 'Sat, 01 Jan 2000 00:00:00 GMT' }, 200]
    ]) {
      const got = await client.request('GET', '/entries/1', { headers: condition })
      assert.deepEqual([got.status, got.body, got.headers.etag], [want, want === 200 ? body : '', headers.etag], JSON.stringify(condition))
    }
    await expect(client.request('GET', '/entries/2'), 404, { error: /beyond the head/ })
    assert.equal((await client.request('HEAD', '/entries/2')).status, 404)
    for (const index of ['0', 'x', '-1']) await expect(client.request('GET', `/entries/${index}`), 400, { error: /^the index is/ })
  })

  test(`${kind.name} asks for the state`, { skip }, async t => {
    const { client } = await begin(t)
    await expect(client.request('GET', '/head'), 200, { head: 0 })
    const before = new Date().toISOString()
    await expect(client.request('POST', '/entries?batch', { headers: LINES_TYPE, body: '[1]\n[2]\n[3]\n' }), 201, { index: 1, count: 3 })
    const after = new Date(Date.now() + 1000).toISOString()
    await expect(client.request('GET', '/head'), 200, { head: 3 })
    const { object: stat } = await expect(client.request('GET', '/stat'), 200)
    assert.equal(stat.head, 3)

    const { object: all } = await expect(client.request('GET', '/histogram'), 200)
    assert.deepEqual([all.head, all.first, all.counts.length, all.counts.reduce((a, b) => a + b)], [3, 1, 100, 3])
    const { object: some } = await expect(client.request('GET', `/histogram?since=${before}&until=${after}&buckets=7`), 200)
    assert.deepEqual([some.counts.length, some.counts.reduce((a, b) => a + b)], [7, 3])
    assert.deepEqual([Date.parse(some.since), Date.parse(some.until)], [Date.parse(before), Date.parse(after)])
    await expect(client.request('GET', '/histogram?buckets=0'), 400, { error: /^"buckets" is "0"/ })

    for (const path of ['/metrics', '/healthz', '/readyz']) {
      assert.equal((await client.request('GET', path)).status, 200, path)
      assert.deepEqual((await client.request('HEAD', path)).body, '', path)
    }
    const { body: metrics } = await client.request('GET', '/metrics')
    assert.match(metrics, /^tcp_log_server_head 3$/m)

    const page = await client.request('GET', '/')
    assert.equal(page.status, 200)
    assert.match(page.headers['content-type'], /^text\/html/)
    assert.match(page.headers['content-security-policy'], /^default-src 'none'/)
    assert.match(page.body, /<html/)

    await expect(client.request('GET', '/nothing'), 404, { error: /./ })
    for (const method of ['DELETE', 'PUT']) {
      const { headers } = await expect(client.request(method, '/entries'), 405, { error: /./ })
      assert.equal(headers.allow, 'GET, HEAD, POST')
    }
  })

  test(`${kind.name} is told to come back when appends are refused`, { skip: skip ?? lacks('prlimit') }, async t => {
    const { scene, client } = await begin(t)
    const limit = size => assert.equal(spawnSync('prlimit', [`--fsize=${size}`, '--pid', String(scene.server.child.pid)]).status, 0)
    limit('4096:')
    const body = JSON.stringify(['x'.repeat(8192)])
    const post = (type, query) => client.request('POST', '/entries' + query, { headers: type, body })
    for (const [type, query] of [[JSON_TYPE, ''], [JSON_TYPE, '?if=0'], [LINES_TYPE, '?batch']]) {
      const { headers } = await expect(post(type, query), 503, { error: /^not stored: / })
      assert.match(headers['retry-after'], /^\d+$/)
    }
    const [{ error }] = lines((await post(LINES_TYPE, '')).body)
    assert.match(error, /^not stored: /)
    assert.equal((await client.request('GET', '/readyz')).status, 503)
    assert.equal((await client.request('GET', '/healthz')).status, 200)
    limit('unlimited:')
    await expect(post(JSON_TYPE, ''), 201, { index: 1 })
  })

  test(`${kind.name} is told to come back when there are too many connections`, { skip }, async t => {
    const { scene, client } = await begin(t, { MAX_CONNECTIONS: '1' })
    const follower = await scene.raw()
    follower.send({ from: 1 })
    await follower.messages.untilCount(1)
    for (const [method, path, options] of [['GET', '/entries'], ['POST', '/entries', { headers: JSON_TYPE, body: '[1]' }]]) {
      const { headers } = await expect(client.request(method, path, options), 503, { error: /too many connections/ })
      assert.match(headers['retry-after'], /^\d+$/)
    }
  })
}
