import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEY, startGateway } from './harness.ts'

const BIN = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

test('a tenant’s own words are set and shown from the command line', async (t) => {
  const gateway = await startGateway(t)
  const eclusa = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY, '--tenant', 'acme']
      execFile(process.execPath, [BIN, 'contacts', ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
  assert.equal(await eclusa('words'), 'optOut: none\nperson: none\n')
  assert.equal(
    await eclusa('words', '--opt-out', 'chega, basta de ofertas'),
    'optOut: chega, basta de ofertas\nperson: none\n',
  )
  // What is not named stays.
  assert.match(
    await eclusa('words', '--person', 'vendedora'),
    /^optOut: chega, basta de ofertas\nperson: vendedora$/m,
  )
  assert.match(await eclusa('words', '--opt-out', 'sair'), /optOut\.0 is understood already/)
  assert.match(await eclusa('words', '--opt-out', ''), /^optOut: none\nperson: vendedora$/m)
})
