// Sends requests to the server with curl, with fetch, and with Python's urllib, so that one
// test says of all of them what a request and its answer are.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

import { Collector, DEADLINE, HOST, start, until } from './harness.mjs'

export const JSON_TYPE = { 'Content-Type': 'application/json' }
export const LINES_TYPE = { 'Content-Type': 'application/x-ndjson' }

const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'urllib_client.py')

// Starts a server with HTTP, at `url`.
export async function startHTTP (t, settings = {}) {
  const scene = await start(t, { HTTP: `${HOST}:0`, ...settings })
  scene.url = `http://${HOST}:${scene.server.httpPort}`
  return scene
}

// The lines of a body, which are JSON and end with a newline each.
export function lines (body) {
  if (body === '') return []
  assert.equal(body.at(-1), '\n', `a newline at the end of ${JSON.stringify(body.slice(-200))}`)
  return body.slice(0, -1).split('\n').map(line => JSON.parse(line))
}

// The lines that arrive from a stream, as they do.
function collect (name, stream) {
  const texts = new Collector(name)
  readline.createInterface({ input: stream, crlfDelay: Infinity }).on('line', line => texts.push(line))
  return texts
}

// A child process that ends with the test.
function run (scene, command, args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const errors = []
  child.stderr.setEncoding('utf8').on('data', text => errors.push(text))
  child.stdin.on('error', () => {}) // it does not read what it does not need
  const exited = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve({ code, error: errors.join('') }))
  })
  scene.after(() => { child.kill('SIGKILL') })
  return { child, exited }
}

// What follow and upload return for a child process.
function streaming (scene, command, args) {
  const { child, exited } = run(scene, command, args)
  const texts = collect(command, child.stdout)
  return {
    texts,
    send: text => child.stdin.write(text),
    end: () => child.stdin.end(),
    ended: (ms = DEADLINE) => until(exited, ms, () => `${command} to end, after ${texts.items.length} lines`),
    stop: () => child.kill('SIGKILL')
  }
}

function headerLines (headers) {
  return Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
}

// A client has: `request`, of which the answer is read whole; `follow`, which collects the
// lines of an answer as they arrive; `upload`, whose body is what `send` is given until `end`;
// and says whether it reads while it sends, and tells where lines are missing from an answer
// that broke off.
const curl = {
  name: 'curl',
  reads: true,
  tells: true,
  missing: () => lacks('curl'),
  open (scene) {
    const common = headers => ['-sS', '-N', '--max-time', '60', ...headerLines(headers)]
    return {
      async request (method, path, { headers = {}, body } = {}) {
        const args = common(headers)
        if (method === 'HEAD') args.push('-I')
        else args.push('-i', '-X', method)
        if (body !== undefined) {
          args.push('--data-binary', '@-')
          if (!('Content-Type' in headers)) args.push('-H', 'Content-Type:') // it would say that it is a form
        }
        const { child, exited } = run(scene, 'curl', [...args, scene.url + path])
        const chunks = []
        child.stdout.on('data', chunk => chunks.push(chunk))
        child.stdin.end(body)
        const { code, error } = await until(exited, DEADLINE, 'curl to end')
        assert.equal(code, 0, error)
        return parse(Buffer.concat(chunks).toString())
      },
      follow: (path, headers = {}) => streaming(scene, 'curl', [...common(headers), scene.url + path]),
      upload: (path, headers) => streaming(scene, 'curl', [...common(headers), '-X', 'POST', '-T', '-', scene.url + path])
    }
  }
}

// What curl -i prints: the header, perhaps after that of 100 Continue, and the body.
function parse (text) {
  for (;;) {
    const at = text.indexOf('\r\n\r\n')
    const [first, ...rest] = text.slice(0, at).split('\r\n')
    text = text.slice(at + 4)
    const status = Number(first.split(' ')[1])
    if (status < 200) continue
    const headers = {}
    for (const line of rest) headers[line.slice(0, line.indexOf(':')).toLowerCase()] = line.slice(line.indexOf(':') + 2)
    return { status, headers, body: text }
  }
}

const nodeFetch = {
  name: 'fetch',
  reads: true,
  tells: true,
  missing: () => undefined,
  open (scene) {
    const streaming = (name, path, options, input) => {
      const stop = new AbortController()
      scene.after(() => stop.abort())
      const texts = new Collector(name)
      const exited = (async () => {
        const response = await fetch(scene.url + path, { ...options, signal: stop.signal })
        let rest = ''
        for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
          const parts = (rest + text).split('\n')
          rest = parts.pop()
          for (const part of parts) texts.push(part)
        }
        return { code: 0 }
      })().catch(error => ({ code: 1, error: String(error) }))
      return {
        ...input,
        texts,
        ended: (ms = DEADLINE) => until(exited, ms, () => `fetch to end, after ${texts.items.length} lines`),
        stop: () => stop.abort()
      }
    }
    return {
      async request (method, path, { headers = {}, body } = {}) {
        // As bytes, so that fetch says nothing of their type.
        const response = await fetch(scene.url + path, {
          method, headers, body: body === undefined ? undefined : Buffer.from(body), signal: AbortSignal.timeout(DEADLINE)
        })
        return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() }
      },
      follow: (path, headers = {}) => streaming('fetch', path, { headers }, {}),
      upload (path, headers) {
        const { readable, writable } = new TransformStream()
        const writer = writable.getWriter()
        return streaming('fetch', path, { method: 'POST', headers, body: readable, duplex: 'half' }, {
          send: text => writer.write(Buffer.from(text)),
          end: () => writer.close()
        })
      }
    }
  }
}

const urllib = {
  name: 'urllib',
  reads: false,
  tells: false, // only `read` does, not reading by lines
  missing: () => lacks('python3'),
  open (scene) {
    return {
      async request (method, path, { headers = {}, body } = {}) {
        const { child, answers } = python()
        const had = answers.items.length
        child.stdin.write(JSON.stringify({ method, url: scene.url + path, headers, body }) + '\n')
        const answer = JSON.parse((await answers.untilCount(had + 1)).at(-1))
        assert.ok(!answer.failed, `${method} ${path}: ${answer.failed}`)
        return answer
      },
      follow: (path, headers = {}) => streaming(scene, 'python3', [script, 'follow', scene.url + path, JSON.stringify(headers)]),
      upload: (path, headers) => streaming(scene, 'python3', [script, 'upload', scene.url + path, JSON.stringify(headers)])
    }
  }
}

// The one process that sends the requests of urllib, since Python takes long to start. It ends
// with this one.
let shared
function python () {
  if (!shared) {
    const child = spawn('python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] })
    shared = { child, answers: collect('answers to urllib', child.stdout) }
    for (const handle of [child, child.stdin, child.stdout]) handle.unref()
  }
  return shared
}

// Why a test that needs the command is skipped, if it is not here.
export function lacks (command) {
  return spawnSync(command, ['--version']).error ? `there is no ${command} here` : undefined
}

export const httpClients = [curl, nodeFetch, urllib]
