// Starts, stops and kills the server, and collects what its clients receive.
// Nothing here sleeps: everything waits for an event, with a deadline.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

import Client4 from 'tcp-log-client-4'
import Client6 from 'tcp-log-client-6'

// Servers start again at the port that they had. On Linux each process has an address on loopback
// of its own, so that nobody else can get the port in between.
export const HOST = process.platform === 'linux'
  ? `127.${1 + (process.pid >> 16 & 63)}.${process.pid >> 8 & 255}.${process.pid & 255}`
  : '127.0.0.1'

// Long enough for slow and busy machines: only a failing test waits so long.
export const DEADLINE = 60_000

// Written last, to show that no duplicate arrives before it.
export const END = { end: true }

// Every kind of npm reader: version 4 streams, version 6 pulls batches.
export const clients = [
  { name: 'client 4', Client: Client4, options: {} },
  { name: 'client 6', Client: Client6, options: {} },
  { name: 'client 6 with batchSize 1', Client: Client6, options: { batchSize: 1 } },
  { name: 'client 6 with batchSize 100', Client: Client6, options: { batchSize: 100 } }
]
export const [client4, client6] = clients

// Fails with a clear message if the promise takes more than ms milliseconds. If
// what is a function, it is called at the deadline, to describe the state then.
export async function until (promise, ms, what) {
  let timer
  const deadline = new Promise((resolve, reject) => {
    timer = setTimeout(() => {
      const name = typeof what === 'function' ? what() : what
      reject(new Error(`waited ${ms} ms in vain for ${name}`))
    }, ms)
  })
  try {
    return await Promise.race([promise, deadline])
  } finally {
    clearTimeout(timer)
  }
}

export function untilEvent (emitter, event, what, ms = DEADLINE) {
  return until(new Promise(resolve => emitter.once(event, resolve)), ms, what)
}

// A list that one side appends to and the other waits for.
export class Collector {
  items = []
  #waiting = new Set()

  constructor (name) {
    this.name = name
  }

  push (item) {
    this.items.push(item)
    this.check()
  }

  check () {
    for (const wait of this.#waiting) {
      if (!wait.predicate(this.items)) continue
      this.#waiting.delete(wait)
      wait.resolve(this.items)
    }
  }

  until (predicate, what, ms = DEADLINE) {
    const promise = new Promise(resolve => {
      this.#waiting.add({ predicate, resolve })
    })
    this.check()
    return until(promise, ms, () => {
      const last = JSON.stringify(this.items.at(-1))?.slice(0, 200)
      return `${this.name}: ${what} (has ${this.items.length}, the last being ${last})`
    })
  }

  untilCount (count) {
    return this.until(items => items.length >= count, `${count} items`)
  }
}

function serverBinary () {
  const here = path.dirname(fileURLToPath(import.meta.url))
  const binary = path.resolve(process.env.TCP_LOG_SERVER || path.join(here, '..', 'tcp-log-server'))
  try {
    accessSync(binary, constants.X_OK)
  } catch {
    throw new Error(
      `no server at ${binary}: build it with \`go build -o tcp-log-server .\` ` +
      'in the folder above, or set TCP_LOG_SERVER to the path of a built one'
    )
  }
  return binary
}

class Server {
  static async start (data, settings) {
    const server = new Server()
    await server.#start(data, settings)
    return server
  }

  // Starts the server again, at the addresses of this one.
  again () {
    const settings = { ...this.settings, PORT: String(this.port) }
    if (settings.HTTP) settings.HTTP = `${HOST}:${this.httpPort}`
    return Server.start(this.data, settings)
  }

  async #start (data, settings) {
    this.data = data
    this.settings = settings
    this.output = []
    this.child = spawn(serverBinary(), {
      env: { ...process.env, PORT: '0', HOST, DATA: data, ...settings },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    // Otherwise a test that ends with an exception would leave its server running.
    const kill = () => this.child.kill('SIGKILL')
    process.once('exit', kill)
    this.exited = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('exit', (code, signal) => {
        process.off('exit', kill)
        resolve({ code, signal })
      })
    })
    const listening = new Promise((resolve, reject) => {
      this.exited.then(
        ({ code, signal }) => reject(new Error(`exited with ${code ?? signal}`)),
        reject
      )
      readline.createInterface({ input: this.child.stdout }).on('line', line => {
        this.#keep(line)
        let message
        try {
          message = JSON.parse(line)
        } catch {
          reject(new Error(`not a line of JSON in the log: ${line}`))
          return
        }
        if (message.event === 'listening') this.port = message.port
        if (message.event === 'page') this.httpPort = message.port
        if (this.port && (this.httpPort || !settings.HTTP)) resolve()
      })
    })
    readline.createInterface({ input: this.child.stderr }).on('line', line => {
      this.#keep(`stderr: ${line}`)
    })
    try {
      await until(listening, DEADLINE, 'the listening event in the log')
    } catch (error) {
      this.child.kill('SIGKILL')
      throw new Error(`the server did not start: ${error.message}\n${this.output.join('\n')}`)
    }
  }

  // The server logs a line per message: keep only the end of its log.
  #keep (line) {
    this.output.push(line.slice(0, 500))
    if (this.output.length > 30) this.output.shift()
  }

  async stop () {
    this.child.kill('SIGTERM')
    const exit = await until(this.exited, DEADLINE, 'the server to exit after SIGTERM')
    assert.deepEqual(
      exit, { code: 0, signal: null },
      `a graceful exit after SIGTERM; the end of the log:\n${this.output.join('\n')}`
    )
  }

  async kill () {
    this.child.kill('SIGKILL')
    await until(this.exited, DEADLINE, 'the server to exit after SIGKILL')
  }

  halt (signal) {
    return signal === 'SIGTERM' ? this.stop() : this.kill()
  }
}

// The resources of a test. They are released after it, in reverse order.
export class Scene {
  #cleanups = []
  errors = []

  constructor (t) {
    t.after(async () => {
      for (const cleanup of this.#cleanups.reverse()) await cleanup()
      // Checked here, so that no test can forget it.
      assert.deepEqual(this.errors, [], 'error events of the clients')
    })
  }

  // Calls cleanup after the test.
  after (cleanup) {
    this.#cleanups.push(cleanup)
  }

  async start (settings) {
    const data = await mkdtemp(path.join(tmpdir(), 'tcp-log-interop-'))
    this.#cleanups.push(() => rm(data, { recursive: true, force: true }))
    this.#cleanups.push(() => this.server?.kill())
    this.server = await Server.start(data, settings)
    return this
  }

  async restart (signal) {
    const { port } = this.server
    await this.server.halt(signal)
    this.server = await this.server.again()
    assert.equal(this.server.port, port, 'the same port after the restart')
  }

  // A connected npm client. Its `entries` collects the entries of readStream,
  // its `currents` the number of entries seen before each `current` event.
  async client (kind, options = {}) {
    const { name, Client } = kind
    const client = new Client({
      server: { host: HOST, port: this.server.port },
      reconnect: { initialDelay: 10, maxDelay: 100 },
      ...kind.options,
      ...options
    })
    client.name = name
    client.entries = new Collector(`entries of ${name}`)
    client.currents = new Collector(`current events of ${name}`)
    // Necessary for writing too: unread entries delay the acknowledgments.
    client.readStream.on('data', chunk => client.entries.push(chunk))
    client.on('current', () => client.currents.push(client.entries.items.length))
    client.on('error', error => this.errors.push({ name, error }))
    this.#cleanups.push(() => {
      client.destroy()
      // destroy() only half-closes: a stuck server would keep this process alive.
      client._socketStream?.destroy()
    })
    const ready = untilEvent(client, 'ready', `${name} to connect`)
    client.connect()
    await ready
    return client
  }

  // A plain TCP connection, and the lines that it receives.
  async raw () {
    const socket = net.connect({ host: HOST, port: this.server.port, allowHalfOpen: true })
    socket.setNoDelay(true)
    this.#cleanups.push(() => socket.destroy())
    socket.on('error', error => this.errors.push({ name: 'raw', error }))
    const messages = new Collector('messages to the raw connection')
    let rest = ''
    socket.setEncoding('utf8')
    socket.on('data', chunk => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()
      for (const line of lines) messages.push(JSON.parse(line))
    })
    const ended = new Promise(resolve => socket.once('end', resolve))
    await untilEvent(socket, 'connect', 'the raw connection')
    return {
      messages,
      send: (...objects) => socket.write(objects.map(o => JSON.stringify(o) + '\n').join('')),
      end: () => socket.end(),
      untilEnd: async () => {
        await until(ended, DEADLINE, () => `the server to end the connection, after ${messages.items.length} messages`)
        assert.equal(rest, '', 'nothing after the last newline')
      }
    }
  }
}

// Starts a server with these settings, which are environment variables.
export async function start (t, settings = {}) {
  return new Scene(t).start(settings)
}

// Resolves to the index of the new entry.
export function write (client, entry) {
  return until(new Promise((resolve, reject) => {
    client.write(entry, (error, index) => error ? reject(error) : resolve(index))
  }), DEADLINE, `${client.name} to have its write acknowledged`)
}

// Writes all without waiting, and resolves to the indices.
export function writeAll (client, entries) {
  return Promise.all(entries.map(entry => write(client, entry)))
}

export function numbered (count, writer = 'test') {
  return Array.from({ length: count }, (_, number) => ({ writer, number }))
}

export function range (first, last) {
  return Array.from({ length: last - first + 1 }, (_, offset) => first + offset)
}

// The entries as the protocol sends them, with consecutive indices.
export function indexed (entries, first = 1) {
  return entries.map((entry, offset) => ({ index: first + offset, entry }))
}

// Like deepEqual, but names the first difference instead of printing them all.
export function assertSame (actual, expected, what) {
  for (let i = 0; i < Math.min(actual.length, expected.length); i++) {
    assert.deepEqual(actual[i], expected[i], `${what}: item ${i}, after ${JSON.stringify(actual[i - 1])?.slice(0, 200)}`)
  }
  assert.equal(actual.length, expected.length, `${what}: number of items`)
}
