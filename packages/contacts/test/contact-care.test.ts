import assert from 'node:assert/strict'
import { test as plainTest, type TestContext } from 'node:test'
import { type ChatId, DAY, HOUR, type InboundOrigin } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import fc from 'fast-check'
import {
  AutoReplies,
  AutoReplyStore,
  CareStore,
  ContactCare,
  ContactLedger,
  ContactSettingStore,
  type Heard,
  parseAutoReplies,
  parseOwnWords,
} from '../src/index.ts'
import { acme, desk, lid, number, oldNumber, openDirectory, other } from './harness.ts'

const hashKey = new Uint8Array(32).fill(3)
const nine = Array.from({ length: 5 }, () => [{ from: '09:00', to: '18:00' }])
const week = Object.fromEntries(
  ['monday', 'tuesday', 'wednesday', 'thursday', 'friday'].map((day, nth) => [day, nine[nth]]),
)

async function openCare(t: TestContext) {
  const tested = await openDirectory(t)
  const { database, clock, directory, events } = tested
  const ledger = new ContactLedger({ database, clock, hashKey })
  const told: string[] = []
  const settings = new ContactSettingStore({ database, clock })
  let fails = false
  const care = new ContactCare({
    store: new CareStore({ database, ledger, events, clock }),
    ledger,
    directory,
    settings,
    ports: {
      standingChanged: async () => {
        if (fails) throw new Error('cut off')
      },
      confirm: async ({ journalId }, { kind }) => void told.push(`${kind} ${journalId}`),
    },
    clock,
  })
  let journalId = 0
  const said = async (
    words: string | null,
    o: { atMenu?: boolean; address?: ChatId; origin?: InboundOrigin } = {},
  ): Promise<Heard> => {
    const address = o.address ?? number
    const origin = o.origin ?? { ...desk, journalId: ++journalId }
    const contact = await directory.seen(origin, { address, alias: null, pushName: null, at: clock.now() })
    return care.hear(origin, { contact, address, words, atMenu: o.atMenu ?? false })
  }
  return {
    ...tested,
    ledger,
    settings,
    told,
    said,
    origin: (): InboundOrigin => ({ ...desk, journalId }),
    cutOff: (how: boolean) => void (fails = how),
  }
}

test('puts an opt-out on record with its event, and says so once, however often the message walks', async (t) => {
  const { said, ledger, told, eventsOf, origin, cutOff } = await openCare(t)
  assert.equal(await said('bom dia'), 'nothing')
  cutOff(true)
  await assert.rejects(said('Parar!'), /cut off/)
  cutOff(false)
  assert.equal(await said('Parar!', { origin: origin() }), 'opted_out')
  assert.equal(await said('Parar!', { origin: origin() }), 'opted_out')
  assert.notEqual((await ledger.standing(acme, [oldNumber, number])).optedOutAt, null)
  assert.equal((await ledger.standing(other, [number])).optedOutAt, null)
  assert.equal((await ledger.list(acme, { after: 0, limit: 10 })).length, 1)
  assert.equal((await eventsOf('contact.opted_out')).length, 1)
  assert.deepEqual(new Set(told), new Set(['opt_out 2']))
  assert.equal(await said('stop stop'), 'opted_out')
  assert.deepEqual(new Set(told), new Set(['opt_out 2']), 'who said so before knows that it was heard')
})

test('nothing automatic goes to who opted out before, until they take it back', async (t) => {
  const { said, told } = await openCare(t)
  await said('STOP')
  assert.equal(await said('thanks'), 'opted_out')
  assert.equal(await said(null), 'opted_out')
  assert.equal(await said('atendente'), 'wants_person')
  assert.equal(await said('voltar'), 'opted_in')
  assert.equal(await said('voltar'), 'nothing', 'a word of menus, for who is not out')
  assert.equal(await said('oi'), 'nothing')
  assert.deepEqual(told, ['opt_out 1', 'opt_in 5'])
})

test('asks once whether "sair" at a menu means the menu; the second time means all messages', async (t) => {
  const { said, clock, origin } = await openCare(t)
  assert.equal(await said('sair', { atMenu: true }), 'asks_to_stop')
  assert.equal(
    await said('sair', { atMenu: true, origin: origin() }),
    'asks_to_stop',
    'the same message again',
  )
  await clock.tick(DAY + HOUR)
  assert.equal(await said('sair', { atMenu: true }), 'asks_to_stop', 'asked long ago')
  const second = await said('Sair', { atMenu: true })
  assert.equal(second, 'opted_out')
  assert.equal(await said('Sair', { atMenu: true, origin: origin() }), 'opted_out')
  await said('START')
  assert.equal(await said('sair', { atMenu: true }), 'asks_to_stop', 'anew')
  assert.equal(await said('parar', { atMenu: true }), 'opted_out', 'that can mean nothing else')
  await said('START')
  assert.equal(await said('sair'), 'opted_out', 'in no menu')
})

test('an opt-out said from the LID counts for the number, before and after they prove to be one', async (t) => {
  const { said, ledger, directory, clock } = await openCare(t)
  await said('oi', { address: number })
  await said('STOP', { address: lid })
  const both = { address: number, alias: lid, pushName: null, at: clock.now() }
  await directory.seen(desk, both)
  assert.equal(await said('oi', { address: oldNumber }), 'opted_out')
  assert.notEqual((await ledger.standing(acme, [number, lid])).optedOutAt, null)
})

test('an opt-in that was set aside, and is heard after a later opt-out, takes nothing back', async (t) => {
  const { said, ledger, told } = await openCare(t)
  await said('STOP')
  const later = { ...desk, journalId: 8 }
  assert.equal(await said('PARAR', { origin: later }), 'opted_out')
  assert.equal(await said('voltar', { origin: { ...desk, journalId: 5 } }), 'opted_out')
  assert.notEqual((await ledger.standing(acme, [number])).optedOutAt, null)
  assert.equal(await said('voltar', { origin: { ...desk, journalId: 9 } }), 'opted_in')
  assert.deepEqual(told, ['opt_out 1', 'opt_in 9'])
})

test('hears a tenant’s own words beside all others, and answers the same message the same once they are gone', async (t) => {
  const { settings, ledger, told, said, origin } = await openCare(t)
  await settings.put(acme, 'words', parseOwnWords({ optOut: ['Chega de ofertas'], person: ['vendedor'] }))
  assert.equal(await said('VENDEDOR, por favor!'), 'wants_person')
  assert.equal(await said('chega de sair', { atMenu: true }), 'nothing')
  assert.equal(
    await said('chega de ofertaas.', { atMenu: true }),
    'opted_out',
    'no question is asked about it',
  )
  const heard = origin()
  assert.deepEqual(told, [`opt_out ${heard.journalId}`])
  await settings.put(acme, 'words', parseOwnWords({}))
  assert.equal(await said('chega de ofertas', { origin: heard }), 'opted_out', 'they stay out')
  assert.notEqual((await ledger.standing(acme, [number])).optedOutAt, null)
  assert.equal(await said('voltar'), 'opted_in')
  assert.equal(await said('chega de ofertas'), 'nothing')
  assert.equal(await said('PARAR'), 'opted_out', 'what always works works without them')
})

test('a tenant’s own words are none of another’s', async (t) => {
  const { settings, said } = await openCare(t)
  await settings.put(other, 'words', parseOwnWords({ optOut: ['chega de ofertas'] }))
  assert.equal(await said('chega de ofertas'), 'nothing')
})

plainTest('refuses own words that mean something already or nothing, naming the word', () => {
  const word = 'x'.repeat(61)
  for (const [input, fault] of [
    [{ optOut: 'chega' }, /optOut must be a list/],
    [{ optOut: ['chega', 1] }, /optOut\.1 must be a text/],
    [{ optOut: [word] }, /optOut\.0 must have at most 60 characters/],
    [{ optOut: Array.from({ length: 51 }, (_, nth) => `chega ${nth}`) }, /optOut must be at most 50 words/],
    [{ optOut: ['9'] }, /optOut\.0 must have at least two letters/],
    [{ person: ['por favor'] }, /person\.0 must have at least two letters/],
    [{ person: [''] }, /person\.0 must have at least two letters/],
    [{ person: ['\0abc'] }, /person\.0 must not contain a NUL/],
    [{ optOut: ['Voltar'] }, /optOut\.0 is understood already, as an opt-in/],
    [{ optOut: ['sair'] }, /optOut\.0 is understood already, as an opt-out that is asked about/],
    [{ optOut: ['atendente'] }, /optOut\.0 is understood already, as the wish for a person/],
    [{ person: ['parar'] }, /person\.0 is understood already, as an opt-out/],
    [{ optOut: ['chega'], person: ['ana', 'CHEGA!'] }, /person\.1 must not be an opt-out word, too/],
    [{ stop: [] }, /stop is not known/],
    [null, /words must be an object/],
  ] as const) {
    assert.throws(() => parseOwnWords(input), fault, JSON.stringify(input))
  }
  assert.deepEqual(parseOwnWords({ optOut: ['STOP', '停止'] }), { optOut: ['STOP', '停止'], person: [] })
})

test('whatever people say and do in whatever order, who said stop last is out', async (t) => {
  const words = ['STOP', 'sair', 'voltar', 'oi', 'atendente', null, 'não quero mais mensagens'] as const
  const { said, ledger, origin } = await openCare(t)
  let nth = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          words: fc.constantFrom(...words),
          atMenu: fc.boolean(),
          again: fc.boolean(),
          address: fc.constantFrom(0, 1),
        }),
        { minLength: 1, maxLength: 12 },
      ),
      async (steps) => {
        const digits = `5511${String(980000000 + nth++)}`
        const addresses = [`${digits}@s.whatsapp.net`, `5511${digits.slice(5)}@s.whatsapp.net`] as ChatId[]
        let isOut = false
        let wasAsked = false
        for (const { words, atMenu, again, address } of steps) {
          const options = { atMenu, address: addresses[address]! }
          const heard = await said(words, options)
          const isStop = words === 'STOP' || words === 'não quero mais mensagens'
          const isLeave = words === 'sair'
          let expected: Heard = isOut ? 'opted_out' : 'nothing'
          if (words === 'atendente') expected = 'wants_person'
          else if (words === 'voltar' && isOut) expected = 'opted_in'
          else if (isStop || (isLeave && (isOut || !atMenu || wasAsked))) expected = 'opted_out'
          else if (isLeave) expected = 'asks_to_stop'
          assert.equal(heard, expected)
          if (heard === 'asks_to_stop') wasAsked = true
          if (heard === 'opted_out' && (isStop || isLeave)) [isOut, wasAsked] = [true, false]
          if (heard === 'opted_in') [isOut, wasAsked] = [false, false]
          if (again) assert.equal(await said(words, { ...options, origin: origin() }), heard)
          assert.equal((await ledger.standing(acme, addresses)).optedOutAt !== null, isOut)
        }
      },
    ),
    { numRuns: 40, seed: 23 },
  )
})

async function openReplies(t: TestContext) {
  const { database, clock, directory } = await openDirectory(t)
  const settings = new ContactSettingStore({ database, clock })
  const sent: string[] = []
  let fails = false
  const replies = new AutoReplies({
    store: new AutoReplyStore({ database, clock }),
    settings,
    sender: {
      async reply(_, { text, idempotencyKey }) {
        if (fails) throw new Error('cut off')
        sent.push(`${text} ${idempotencyKey}`)
      },
    },
    clock,
  })
  const contact = await directory.seen(desk, {
    address: number,
    alias: null,
    pushName: null,
    at: clock.now(),
  })
  const hear = (
    journalId: number,
    o: { operator?: string; heard?: Heard; isToldElsewhere?: () => Promise<boolean> } = {},
  ): Promise<boolean> =>
    replies.hear({ ...desk, journalId }, { contact, chat: number, operator: null, heard: 'nothing', ...o })
  return { clock, settings, sent, hear, cutOff: (how: boolean) => void (fails = how) }
}

const closed = { hours: { zone: 'UTC', week }, text: 'closed', cooldownMs: 2 * HOUR }
const operator = 'opr_00000000000000000001'

test('replies outside of the hours, once per cooldown, to the same message again with the same key', async (t) => {
  const { clock, settings, sent, hear, cutOff } = await openReplies(t)
  assert.equal(await hear(1), false, 'no rule')
  await settings.put(acme, 'auto_replies', parseAutoReplies({ tenant: closed }))
  assert.equal(await hear(2), false, 'Monday noon')
  await clock.tick(6 * HOUR)
  cutOff(true)
  await assert.rejects(hear(3), /cut off/)
  cutOff(false)
  assert.equal(await hear(3), true)
  assert.equal(await hear(3), true)
  assert.equal(await hear(4), false)
  await clock.tick(2 * HOUR)
  assert.equal(await hear(5), true)
  assert.deepEqual([...new Set(sent)], ['closed auto-reply:3', 'closed auto-reply:5'])
  await clock.tick(13 * HOUR)
  assert.equal(await hear(6), false, 'Tuesday, open')
})

test('an operator’s own rule comes before the tenant’s; who opted out or is asked gets none', async (t) => {
  const { clock, settings, sent, hear } = await openReplies(t)
  const always = { hours: { zone: 'UTC', week: { monday: [{ from: '00:00', to: '24:00' }] } }, text: 'away' }
  await settings.put(
    acme,
    'auto_replies',
    parseAutoReplies({ tenant: closed, operators: { [operator]: always } }),
  )
  await clock.tick(7 * HOUR)
  assert.equal(await hear(1, { operator }), false, 'the operator is there')
  for (const heard of ['opted_out', 'asks_to_stop', 'opted_in'] as const) {
    assert.equal(await hear(2, { heard }), false)
  }
  const isToldElsewhere = async (): Promise<boolean> => true
  assert.equal(await hear(2, { isToldElsewhere }), false, 'a flow tells them the hours')
  assert.equal(await hear(3, { heard: 'wants_person' }), true)
  await clock.tick(DAY)
  assert.equal(await hear(4, { operator }), true)
  assert.deepEqual(sent, ['closed auto-reply:3', 'away auto-reply:4'])
})

test('refuses rules of the wrong form, naming the field', () => {
  const cases = [
    [{ tenant: { ...closed, text: ' ' } }, 'tenant.text'],
    [{ tenant: { ...closed, cooldownMs: 5 } }, 'tenant.cooldownMs'],
    [{ tenant: { ...closed, hours: { zone: 'Mars' } } }, 'tenant.hours.zone'],
    [{ operators: { bob: closed } }, 'operators.bob'],
    [{ tenants: closed }, 'tenants'],
  ] as const
  for (const [input, field] of cases) {
    assert.throws(
      () => parseAutoReplies(input),
      (error: { details?: { field?: string } }) => error.details?.field === field,
      field,
    )
  }
})
