// Runs an original server: node original.cjs VERSION DIRECTORY. It starts it like the
// package's own server.js, with three differences: the system picks the port, the
// directories are in DIRECTORY, and versions 6 and 9 get a current LevelDB with the
// encodings of theirs, which no longer compiles.
'use strict'
const crypto = require('crypto')
const { EventEmitter } = require('events')
const { createRequire } = require('module')
const net = require('net')
const path = require('path')

const [version, directory] = process.argv.slice(2)
const theirs = createRequire(require.resolve(`tcp-log-server-${version}`))
const leveldown = require('leveldown')(path.join(directory, '.tcp-log-server.leveldb'))
const levelup = require('levelup')
const encode = require('encoding-down')

const log = {
  6: () => theirs('level-logs')(levelup(encode(leveldown)), { valueEncoding: 'json' }),
  9: () => theirs('level-simple-log')(levelup(encode(leveldown))),
  10: () => theirs('level-simple-log')(levelup(leveldown))
}[version]()

const silent = { info () {}, warn () {}, error () {}, child: () => silent }
const handler = require(`tcp-log-server-${version}`)(
  silent,
  log,
  theirs('fs-blob-store')(path.join(directory, '.tcp-log-server.blobs')),
  new EventEmitter(),
  text => crypto.createHash('sha256').update(text).digest('hex')
)
const server = net.createServer().on('connection', handler)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit()) // with the test
