import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EclusaError, kernelErrors, type Logger } from '@eclusa/kernel'
import { hashOf, openLog } from '../src/log.ts'

const hashKey = new Uint8Array(32).fill(9)

function capture(
  format: 'json' | 'pretty' = 'json',
  level: 'debug' | 'warn' = 'debug',
): { log: Logger; lines: string[] } {
  const lines: string[] = []
  return { lines, log: openLog({ level, format, hashKey, write: (line) => void lines.push(line) }) }
}

test('a line is JSON with time, level, message and the given fields', () => {
  const { log, lines } = capture()
  log.info({ tenant: 'acme', durMs: 12 }, 'session online')
  const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>
  assert.equal(line['level'], 'info')
  assert.equal(line['msg'], 'session online')
  assert.equal(line['tenant'], 'acme')
  assert.equal(line['durMs'], 12)
  assert.ok(!Number.isNaN(Date.parse(String(line['time']))))
})

test('numbers and chats leave as a hash that is the same for both and different elsewhere', () => {
  const { log, lines } = capture()
  const hash = hashOf('5511999990000', hashKey)
  log.info(
    { chat: '5511999990000@s.whatsapp.net', number: '+5511999990000' },
    'to 5511999990000:12@s.whatsapp.net',
  )
  const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>
  assert.equal(line['chat'], hash)
  assert.equal(line['number'], hash)
  assert.equal(line['msg'], `to ${hash}`)
  assert.match(hash, /^[0-9a-f]{10}$/)
  assert.notEqual(hash, hashOf('5511999990000', new Uint8Array(32)))
})

test('no text, number or secret leaves, however deep it hides', () => {
  const { log, lines } = capture()
  const cause = new Error('phone +5511999990000 said no')
  log.error(
    {
      text: 'canary-text',
      content: { kind: 'text', text: 'canary-text' },
      err: new EclusaError(kernelErrors.BAD_ID, {
        message: 'about 5511999990000@s.whatsapp.net',
        details: { key: 'canary-secret', chats: ['123456789012345@lid'] },
        cause,
      }),
      nested: {
        pairingCode: 'ABCD1234',
        qr: 'canary-qr',
        deep: { deeper: { deepest: { bottom: { x: '5511999990000' } } } },
      },
      bytes: new Uint8Array([1, 2, 3]),
    },
    'failed',
  )
  const line = lines.join('')
  for (const canary of ['canary', '5511999990000', '123456789012345', 'ABCD1234'])
    assert.ok(!line.includes(canary), canary)
  assert.match(line, /KERNEL_BAD_ID/)
  assert.match(line, /3 bytes/)
})

test('ids and times of ours stay readable', () => {
  const { log, lines } = capture()
  log.info(
    { instance: 'ins_01234567890123456789', message: 'msg_00000000042', at: 1_767_614_400_000 },
    'sent',
  )
  assert.match(lines[0] ?? '', /ins_01234567890123456789.*msg_00000000042.*1767614400000/)
})

test('lines below the level are not written', () => {
  const { log, lines } = capture('json', 'warn')
  log.info({}, 'quiet')
  log.warn({}, 'loud')
  assert.equal(lines.length, 1)
})

test('the pretty form is one line with the fields at its end', () => {
  const { log, lines } = capture('pretty')
  log.warn({ tenant: 'acme', waiting: 501 }, 'the queue is long')
  assert.match(lines[0] ?? '', /^\d\d:\d\d:\d\d warn {2}the queue is long {2}tenant=acme waiting=501\n$/)
})
