import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { KEY, startGateway } from './harness.ts'

const BIN = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

test('sectors and operators are made and changed from the command line', async (t) => {
  const gateway = await startGateway(t)
  const eclusa = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY, '--tenant', 'acme']
      execFile(process.execPath, [BIN, ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
  assert.match(await eclusa('sectors', 'add', 'sales', '--rule', 'round_robin'), /^sales \(default\)/)
  assert.match(
    await eclusa('sectors', 'set', 'sales', '--name', 'Sales'),
    /Sales {2}round_robin {2}waiting 0/,
  )
  const made = await eclusa('operators', 'add', 'Ana', '--capacity', '3', '--sectors', 'sales:english+money')
  assert.match(made, /Ana {2}offline {2}0\/3 {2}sales:english\+money/)
  const id = made.split(' ')[0] ?? ''
  assert.match(await eclusa('operators', 'set', id, '--availability', 'online'), /online/)
  assert.match(await eclusa('sectors', 'add', 'Sales'), /id must be 1 to 40 lower-case letters/)
  assert.match(await eclusa('operators', 'return-all', id), /returned 0/)
  assert.match(await eclusa('operators', 'remove', id), /removed/)
  assert.match(await eclusa('sectors', 'remove', 'sales'), /removed/)
  assert.equal((await eclusa('conversations', 'list')).trim(), '')
})
