import assert from 'node:assert/strict'
import * as https from 'node:https'
import { test } from 'node:test'
import * as tls from 'node:tls'
import { downloadMediaMessage } from 'baileys'
import { until } from '@eclusa/kernel/test-kit'
import { makeRig } from './rig.ts'

test('a document goes up to the media host and the contact opens it', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const carol = contact()
  const { client } = await number({}, { fetchAgent: new https.Agent({ ca: sim.mediaCertificate }) })
  const bytes = Buffer.from('%PDF-1.4 not really'.repeat(5000))
  await client.sock.sendMessage(carol.jid, {
    document: bytes,
    mimetype: 'application/pdf',
    fileName: 'contract.pdf',
    caption: 'please sign',
  })
  const message = await carol.waitFor((m) => m.kind === 'document')
  assert.equal(message.text, 'please sign')
  assert.equal(message.media?.fileName, 'contract.pdf')
  assert.deepEqual(carol.openFile(message), bytes)
  await sim.assertClean()
})

test('a file of the contact is downloaded and decrypted by the client', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const before = tls.getCACertificates('default')
  tls.setDefaultCACertificates([...before, sim.mediaCertificate])
  t.after(() => tls.setDefaultCACertificates(before))
  const carol = contact()
  const { client, phone } = await number()
  const bytes = Buffer.alloc(300_000, 'voice')
  await carol.sendFile(phone, { kind: 'audio', bytes, mimetype: 'audio/ogg' })
  await until(
    () => client.upserts.some(({ message }) => message.message?.audioMessage != null),
    'the voice message',
  )
  const received = client.upserts.find(({ message }) => message.message?.audioMessage != null)?.message
  assert.ok(received)
  assert.deepEqual(await downloadMediaMessage(received, 'buffer', {}), bytes)
  await sim.assertClean()
})

test('an upload that fails is tried again on the next host, and fails when there is none', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const carol = contact()
  const { client } = await number({}, { fetchAgent: new https.Agent({ ca: sim.mediaCertificate }) })
  const content = { document: Buffer.from('x'), mimetype: 'text/plain', fileName: 'x.txt' }
  const fault = sim.fault({ on: 'media', do: 'error', code: 500, match: { direction: 'in' } })
  await assert.rejects(client.sock.sendMessage(carol.jid, content), /Media upload failed/)
  fault.clear()
  const broken = sim.fault({ on: 'media', do: 'dropConnection', times: 1 })
  await assert.rejects(client.sock.sendMessage(carol.jid, content), /Media upload failed/)
  assert.equal(broken.struck, 1)
  sim.fault({ on: 'media', do: 'delay', ms: 20, times: 1 })
  await client.sock.sendMessage(carol.jid, content)
  await carol.waitFor((m) => m.kind === 'document')
  await sim.assertClean()
})
