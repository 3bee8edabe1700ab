// The examples of docs/HTTP.md.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { lacks, startHTTP } from './http.mjs'

const document = new URL('../../docs/HTTP.md', import.meta.url)
const here = fileURLToPath(new URL('.', import.meta.url)) // where the packages are

for (const [language, command, args, want] of [
  ['js', process.execPath, ['--input-type=module'], "stored as 1\n1 { amount: 5, user: 'ann' }\n"],
  ['python', 'python3', ['-'], "stored as 1\n1 {'amount': 5, 'user': 'ann'}\n"]
]) {
  test(`the example in ${language}`, { skip: lacks(command) }, async t => {
    const [, code] = readFileSync(document, 'utf8').match(new RegExp('```' + language + '\n([^]*?)```'))
    const { url } = await startHTTP(t)
    const { status, stdout, stderr } = spawnSync(command, args, {
      input: code.replace('http://localhost:8090', url), cwd: here, encoding: 'utf8', timeout: 30_000
    })
    assert.deepEqual([status, stdout], [0, want], stderr)
  })
}
