import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until } from '@eclusa/kernel/test-kit'
import { WA_CERT_DETAILS } from 'baileys'
import { TestClient } from './client.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))

interface Process {
  readonly whatsapp: string
  readonly control: string
  readonly child: ChildProcess
  call<Json = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly json: Json; readonly type: string | null }>
}

async function start(t: TestContext, ...args: string[]): Promise<Process> {
  const child = spawn(process.execPath, [MAIN, '--port', '0', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const line = await new Promise<string>((resolve) =>
    createInterface({ input: child.stdout }).once('line', resolve),
  )
  const { whatsapp, control } = JSON.parse(line) as { whatsapp: string; control: string }
  return {
    whatsapp,
    control,
    child,
    call: async <Json>(method: string, path: string, body?: unknown) => {
      const answer = await fetch(`${control}${path}`, {
        method,
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      return {
        status: answer.status,
        json: (await answer.json()) as Json,
        type: answer.headers.get('content-type'),
      }
    },
  }
}

interface Inbox {
  readonly messages: readonly { readonly waMessageId: string }[]
}
interface Presence {
  readonly presence: readonly unknown[]
}
interface Check {
  readonly clean: boolean
}
interface Stats {
  readonly acknowledged: readonly { readonly waMessageId: string }[]
  readonly accepted: readonly unknown[]
  readonly numbers: readonly { readonly devices: readonly { readonly online: boolean }[] }[]
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', resolve))
}

test('the whole main job over the control API of a simulator in its own process', async (t) => {
  const { whatsapp, control, child, call } = await start(t)
  assert.match(whatsapp, /^ws:\/\/127\.0\.0\.1:\d+\/ws\/chat$/)
  assert.match(control, /^http:\/\/127\.0\.0\.1:\d+$/)
  const before = Buffer.from(WA_CERT_DETAILS.PUBLIC_KEY)
  const key = await fetch(`${whatsapp.replace('ws:', 'http:').replace('/ws/chat', '')}/root-key`)
  const { publicKey } = (await key.json()) as { publicKey: string }
  ;(WA_CERT_DETAILS as { PUBLIC_KEY: Buffer }).PUBLIC_KEY = Buffer.from(publicKey, 'base64')
  const client = new TestClient(whatsapp)
  t.after(() => {
    client.end()
    ;(WA_CERT_DETAILS as { PUBLIC_KEY: Buffer }).PUBLIC_KEY = before
  })

  assert.equal((await call('POST', '/numbers', { number: '+5511900000001', name: 'Loja' })).status, 201)
  await call('POST', '/contacts', { number: '5521900000001', name: 'Carol', autoRead: true })
  await call('POST', '/contacts', { number: '5521900000002', replies: ['yes', 'no'], replyDelayMs: 10 })
  const scanned = await call<{ device: string }>('POST', '/numbers/+5511900000001/scan', {
    qr: await client.untilQr(),
  })
  assert.deepEqual(scanned.json, { device: '5511900000001:1@s.whatsapp.net' })
  await client.untilClosed()
  client.reconnect()
  await client.untilOpen()
  assert.equal((await call<Check>('GET', '/check')).json.clean, true)

  const id = await client.send('5521900000001', 'hello')
  await until(
    async () => (await call<Inbox>('GET', '/contacts/5521900000001/inbox')).json.messages.length === 1,
    'the message',
  )
  const inbox = (await call<Inbox>('GET', '/contacts/5521900000001/inbox')).json.messages
  assert.deepEqual(
    { ...inbox[0], at: 0 },
    {
      waMessageId: id,
      from: '5511900000001',
      chat: '5511900000001',
      kind: 'text',
      text: 'hello',
      at: 0,
      repeats: 0,
      order: 1,
    },
  )
  assert.deepEqual((await call('GET', '/contacts/5521900000001/inbox?after=1')).json, { messages: [] })
  const sent = await call<{ waMessageId: string }>('POST', '/contacts/5521900000001/send', {
    to: '5511900000001',
    text: 'hi',
  })
  await until(() => client.texts.includes('hi'), 'the answer')
  await client.send('5521900000002', 'sure?')
  await client.send('5521900000002', 'really?')
  await until(() => client.texts.includes('yes') && client.texts.includes('no'), 'two scripted answers')
  await client.sock.sendPresenceUpdate('composing', '5521900000001@s.whatsapp.net')
  await until(
    async () => (await call<Presence>('GET', '/contacts/5521900000001/presence')).json.presence.length === 1,
    'typing',
  )
  await call('POST', '/contacts/5521900000001/typing', { to: '5511900000001', state: 'recording' })
  await until(() => client.presence.at(-1)?.states[0] === 'recording', 'recording')

  const fault = (
    await call<{ id: string }>('POST', '/faults', {
      on: 'ack',
      do: 'error',
      code: 463,
      match: { contact: '+5521900000001' },
    })
  ).json
  await client.send('5521900000001', 'refused')
  await until(() => client.acks.at(-1)?.['error'] === '463', 'refused')
  assert.equal((await call('DELETE', `/faults/${fault.id}`)).status, 200)
  assert.equal((await call('DELETE', `/faults/${fault.id}`)).status, 404)

  await call('POST', `/devices/${encodeURIComponent(scanned.json.device)}/drop`)
  assert.equal(await client.untilClosed(), 428)
  client.reconnect()
  await client.untilOpen()
  const stats = (await call<Stats>('GET', '/stats')).json
  assert.equal(stats.acknowledged[0]?.waMessageId, sent.json.waMessageId)
  assert.equal(stats.accepted.length, 3)
  assert.equal(stats.numbers[0]?.devices[0]?.online, true)
  assert.deepEqual((await call('GET', '/unknown')).json, { unknown: [] })
  assert.deepEqual((await call('GET', '/pending')).json, { pending: [] })
  assert.equal((await call<Check>('GET', '/check')).json.clean, true)
  for (const [act, code] of [
    ['conflict', 440],
    ['stream-error', 503],
    ['close', 428],
    ['logout', 401],
  ] as const) {
    await call('POST', '/devices/5511900000001/' + act, act === 'stream-error' ? { code: 503 } : undefined)
    assert.equal(await client.untilClosed(), code)
    client.reconnect()
    if (act === 'logout') assert.equal(await client.untilClosed(), 401)
    else await client.untilOpen()
  }
  child.kill('SIGTERM')
  assert.equal(await ended(child), 0)
})

test('bad input is refused with a problem that names the field, and changes nothing', async (t) => {
  const { call } = await start(t)
  await call('POST', '/contacts', { number: '5521900000001' })
  const cases: readonly (readonly [string, string, unknown, number, string | undefined])[] = [
    ['POST', '/numbers', {}, 400, 'number'],
    ['POST', '/numbers', { number: '12' }, 400, 'number'],
    ['POST', '/numbers', { number: '5511900000001', nmae: 'x' }, 400, 'nmae'],
    ['POST', '/numbers', '{broken', 400, 'body'],
    ['POST', '/numbers', '[]', 400, 'body'],
    ['POST', '/contacts', { number: '5521900000001' }, 409, 'number'],
    ['POST', '/contacts', { number: '5521900000009', autoRead: 'yes' }, 400, 'autoRead'],
    ['POST', '/contacts', { number: '5521900000009', replies: [1] }, 400, 'replies'],
    ['POST', '/contacts/5521900000009/send', { to: '5511900000001', text: 'x' }, 404, undefined],
    ['POST', '/contacts/5521900000001/send', { to: 'nobody', text: 'x' }, 400, 'to'],
    ['POST', '/contacts/5521900000001/send', { to: '5511900000001', text: '' }, 400, 'text'],
    ['POST', '/contacts/5521900000001/send', { to: '5511900000001', text: 'x' }, 404, 'to'],
    ['POST', '/faults', { on: 'moon', do: 'lose' }, 400, 'on'],
    ['POST', '/faults', { on: 'ack', do: 'explode' }, 400, 'do'],
    ['POST', '/faults', { on: 'ack', do: 'lose', times: -1 }, 400, 'times'],
    ['POST', '/faults', { on: 'ack', do: 'lose', match: { colour: 'red' } }, 400, 'colour'],
    ['POST', '/devices/5511900000001:1@s.whatsapp.net/drop', undefined, 404, undefined],
    ['GET', '/contacts/5521900000001/inbox?after=x', undefined, 400, 'after'],
    ['GET', '/moon', undefined, 404, undefined],
  ]
  for (const [method, path, body, status, field] of cases) {
    const answer = await call(method, path, body)
    assert.equal(answer.status, status, `${method} ${path} ${JSON.stringify(body)}`)
    assert.equal(answer.json['field'], field, `${method} ${path} ${JSON.stringify(answer.json)}`)
    assert.equal(answer.type, 'application/problem+json')
  }
  const tooLarge = await call('POST', '/numbers', { number: '5511900000001', name: 'x'.repeat(1024 * 1024) })
  assert.deepEqual([tooLarge.status, tooLarge.json['field']], [400, 'body'])
  assert.equal((await call<Stats>('GET', '/stats')).json.numbers.length, 0)
  assert.equal((await call<{ contacts: readonly unknown[] }>('GET', '/contacts')).json.contacts.length, 1)
})

test('as a child it ends when its parent closes its standard input', async (t) => {
  const { child } = await start(t, '--parent')
  child.stdin?.end()
  assert.equal(await ended(child), 0)
})

test('a wrong option is refused before anything starts', async () => {
  const child = spawn(process.execPath, [MAIN, '--port', 'x'], { stdio: 'ignore' })
  assert.equal(await ended(child), 2)
})
