import assert from 'node:assert/strict'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator, type NumberPhone, type Simulator } from '@eclusa/simulator'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { newInstance, pairByQr, startGateway, type TestGateway } from './harness.ts'

const SHOP = '5511900000101'
const BRANCH = '5511900000102'
const ANA = '5521900000201'

type Item = Readonly<Record<string, unknown>>

const itemsOf = async (gateway: TestGateway, path: string): Promise<readonly Item[]> =>
  (await gateway.call('GET', path)).body['items'] as readonly Item[]

/** Somebody writes under their LID alone; their conversation with this instance. */
async function conversationUnderLid(
  gateway: TestGateway,
  simulator: Simulator,
  desk: { readonly id: string; readonly phone: NumberPhone },
): Promise<string> {
  simulator.contact(ANA).send(desk.phone, 'hello', { withoutNumber: true })
  const list = `/v1/tenants/acme/conversations?instance=${desk.id}`
  await until(async () => (await itemsOf(gateway, list)).length === 1, 'it is filed')
  const [conversation] = await itemsOf(gateway, list)
  assert.match(String(conversation?.['chat']), /@lid$/)
  return `/v1/conversations/${String(conversation?.['id'])}`
}

const saidIn = async (gateway: TestGateway, conversation: string): Promise<readonly unknown[]> =>
  (await itemsOf(gateway, `${conversation}/history`))
    .filter(({ kind }) => kind === 'outbound')
    .map(({ text, actor, outbound }) => [text, actor, (outbound as Item)['id']])

test('what is sent to a number is filed with the LID that proves to be theirs, in order and once', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url, ECLUSA_LIMITS: 'off' })
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  const phone = simulator.addNumber(SHOP)
  const id = await newInstance(gateway)
  await pairByQr(gateway, phone, id)
  const send = async (text: string): Promise<unknown> =>
    (await gateway.call('POST', `/v1/instances/${id}/messages`, { to: `+${ANA}`, text })).body['id']
  await gateway.call('POST', `/v1/instances/${id}/queue/pause`)
  await send('before there was a conversation')
  const conversation = await conversationUnderLid(gateway, simulator, { id, phone })
  const first = await send('order 1')
  const second = await send('order 2')
  assert.deepEqual(await saidIn(gateway, conversation), [], 'nobody knows yet that they are one')
  const data = await gateway.call('GET', `/v1/tenants/acme/contacts/+${ANA}/export`)
  assert.match(data.text, /"kind":"outbound".*order 2/, 'what waits is known of the person, too')
  // Whoever sends to the number is told its LID.
  await gateway.call('POST', `/v1/instances/${id}/queue/resume`)
  await until(async () => (await saidIn(gateway, conversation)).length === 2, 'they are filed')
  const third = await send('order 3')
  assert.deepEqual(await saidIn(gateway, conversation), [
    ['order 1', 'api', first],
    ['order 2', 'api', second],
    ['order 3', 'api', third],
  ])
  assert.equal((await gateway.call('GET', conversation)).body['chat'], `${ANA}@s.whatsapp.net`)
  await until(() => ana.inbox.length === 4, 'all of it came')
  ana.send(phone, 'thanks', { addressing: 'lid' })
  await until(
    async () => (await itemsOf(gateway, `${conversation}/history`)).at(-1)?.['kind'] === 'inbound',
    'she goes on in it',
  )
  assert.equal((await saidIn(gateway, conversation)).length, 3, 'nothing stands there twice')
})

test('what is sent to a number is filed at once when another instance knows whose it is', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url, ECLUSA_LIMITS: 'off' })
  const ana = simulator.addContact(ANA, { name: 'Ana' })
  const [shop, branch] = await Promise.all(
    [SHOP, BRANCH].map(async (number) => {
      const phone = simulator.addNumber(number)
      const id = await newInstance(gateway)
      await pairByQr(gateway, phone, id)
      return { id, phone }
    }),
  )
  assert.ok(shop !== undefined && branch !== undefined)
  ana.send(branch.phone, 'hello branch', { addressing: 'lid' })
  const contacts = '/v1/tenants/acme/contacts'
  await until(async () => (await itemsOf(gateway, contacts)).length === 1, 'she is known')
  const conversation = await conversationUnderLid(gateway, simulator, shop)
  assert.equal((await itemsOf(gateway, contacts)).length, 1, 'as one person')
  await gateway.call('POST', `/v1/instances/${shop.id}/queue/pause`)
  const { body } = await gateway.call('POST', `/v1/instances/${shop.id}/messages`, {
    to: `+${ANA}`,
    text: 'your order',
  })
  assert.deepEqual(await saidIn(gateway, conversation), [['your order', 'api', body['id']]])
})
