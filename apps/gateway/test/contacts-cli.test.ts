import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEY, startGateway, type TestGateway } from './harness.ts'

const BIN = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

function eclusaOn(gateway: TestGateway): (...args: readonly string[]) => Promise<string> {
  return (...args) =>
    new Promise((resolve) => {
      const to = ['--url', gateway.app.url, '--key', KEY, '--tenant', 'acme']
      execFile(process.execPath, [BIN, 'contacts', ...args, ...to], (_, out, err) => resolve(`${out}${err}`))
    })
}

test('notes and confirmations are read and written from the command line', async (t) => {
  const gateway = await startGateway(t)
  const eclusa = eclusaOn(gateway)
  const ana = '+5511987654321'
  await gateway.call('POST', '/v1/tenants/acme/contacts', { address: ana })
  await gateway.call('POST', `/v1/tenants/acme/contacts/${ana}/notes`, { text: 'has a dog' })
  const noted = await eclusa('note', ana, 'prefers mornings', '--by', 'Bia')
  assert.match(noted, /^1 .*api: has a dog\n2 .*Bia: prefers mornings\n$/)
  assert.match(await eclusa('drop-note', ana, '1'), /note 1 removed/)
  const notes = JSON.parse(await eclusa('notes', ana, '--json')) as readonly { readonly text: string }[]
  assert.deepEqual(
    notes.map(({ text }) => text),
    ['prefers mornings'],
  )
  const usual = "in the language of the number's country"
  assert.equal(
    await eclusa('confirmations', '--opt-out', 'Done.'),
    `optOutText: Done.\noptInText: ${usual}\n`,
  )
  assert.equal(await eclusa('confirmations', '--opt-in', ''), 'optOutText: Done.\noptInText: none is sent\n')
  const settings = await gateway.call('GET', '/v1/tenants/acme/contact-settings')
  assert.deepEqual(settings.body['confirmations'], { optOutText: 'Done.', optInText: null })
  assert.equal(
    await eclusa('confirmations', '--default', '--opt-in', 'Welcome back.'),
    `optOutText: ${usual}\noptInText: Welcome back.\n`,
  )
})

test('a tenant’s own words are set and shown from the command line', async (t) => {
  const gateway = await startGateway(t)
  const eclusa = eclusaOn(gateway)
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
})
