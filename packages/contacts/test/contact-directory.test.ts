import assert from 'node:assert/strict'
import { estimateBytes } from '@eclusa/bounded-cache'
import { type ChatId, chatOfNumber, MINUTE, seededRandom } from '@eclusa/kernel'
import { codeOf } from '@eclusa/kernel/test-kit'
import { eachDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { contactsMemory } from '../src/index.ts'
import { acme, budget, desk, lid, number, oldNumber, openDirectory, other } from './harness.ts'

const sighting = { address: number, alias: null, pushName: 'Ana', at: Date.UTC(2026, 0, 5, 12) }

test('makes one contact of a person, whatever spelling of the number and however often', async (t) => {
  const { directory, eventsOf } = await openDirectory(t)
  const ids = []
  for (const address of [number, oldNumber, number]) {
    ids.push(await directory.seen(desk, { ...sighting, address, alias: lid }))
    ids.push(await directory.seen(desk, { ...sighting, address: lid }))
  }
  assert.equal(new Set(ids).size, 1)
  const contact = await directory.get(acme, ids[0]!)
  assert.deepEqual(contact.addresses, [number, lid])
  assert.equal((await eventsOf('contact.created')).length, 1)
  assert.notEqual(
    await directory.seen({ ...desk, tenant: other }, sighting),
    ids[0],
    'each tenant has its own',
  )
})

test('sends to the number as WhatsApp spells it, to the LID while no number is known', async (t) => {
  const { directory } = await openDirectory(t)
  const id = await directory.seen(desk, { ...sighting, address: lid })
  assert.equal((await directory.get(acme, id)).address, lid)
  await directory.seen(desk, { ...sighting, address: lid, alias: number })
  assert.equal((await directory.get(acme, id)).address, number)
  await directory.seen(desk, { ...sighting, address: oldNumber })
  assert.equal((await directory.get(acme, id)).address, oldNumber)
  // What people type in is not how WhatsApp spells it.
  const { contact, outcome } = await directory.put(acme, number, { name: 'Ana Lima' })
  assert.deepEqual([contact.id, outcome, contact.address], [id, 'changed', oldNumber])
})

test('keeps the last name they gave themselves, and when they last wrote to the minute', async (t) => {
  const { directory } = await openDirectory(t)
  const id = await directory.seen(desk, sighting)
  await directory.seen(desk, { ...sighting, pushName: null, at: sighting.at + MINUTE })
  await directory.seen(desk, { ...sighting, pushName: '\ud800 Bia ', at: sighting.at + 1 })
  const { pushName, lastSeenAt } = await directory.get(acme, id)
  assert.equal(pushName, '\ufffd Bia')
  assert.equal(lastSeenAt, sighting.at + MINUTE)
})

test('makes one of two when number and LID prove to be one: the older stays, nothing is lost', async (t) => {
  const { directory, merges, eventsOf, clock } = await openDirectory(t)
  const older = await directory.seen(desk, { ...sighting, address: lid, pushName: 'Ana 🌻' })
  await clock.tick(1000)
  const younger = await directory.seen(desk, { ...sighting, at: sighting.at + MINUTE })
  assert.notEqual(older, younger)
  await directory.change(acme, older, { tags: ['vip'], fields: { city: 'Recife' } })
  await directory.change(acme, younger, {
    name: 'Ana Lima',
    tags: ['new', 'vip'],
    fields: { city: 'Olinda', shirt: 'M' },
  })
  await directory.addNote(acme, older, { by: 'opr', text: 'one' })
  await directory.addNote(acme, younger, { by: 'opr', text: 'two' })

  assert.equal(await directory.seen(desk, { ...sighting, alias: lid }), older)
  const merged = await directory.get(acme, older)
  assert.deepEqual(merged, await directory.get(acme, younger), 'the old id leads there')
  assert.deepEqual(
    [merged.name, merged.pushName, merged.tags, merged.fields, merged.addresses, merged.lastSeenAt],
    ['Ana Lima', 'Ana', ['new', 'vip'], { city: 'Recife', shirt: 'M' }, [number, lid], sighting.at + MINUTE],
  )
  const notes = await directory.notes(acme, younger)
  assert.deepEqual(
    notes.map(({ text, by }) => [text, by]),
    [
      ['one', 'opr'],
      ['two', 'opr'],
    ],
  )
  assert.deepEqual(merges, [{ tenant: acme, from: younger, to: older }])
  assert.equal((await eventsOf('contact.merged')).length, 1)
  assert.deepEqual(
    (await directory.page(acme, { after: '', limit: 10, tag: 'vip' })).map(({ id }) => id),
    [older],
  )
})

test('tells of a merge until it was heard, and once more for what was under way', async (t) => {
  let fails = true
  const heard: string[] = []
  const { directory, clock, another } = await openDirectory(t, {
    merged: async ({ from }) => {
      heard.push(from)
      if (fails) throw new Error('not now')
    },
  })
  await directory.seen(desk, { ...sighting, address: lid })
  await clock.tick(1)
  const younger = await directory.seen(desk, sighting)
  const both = { ...sighting, alias: lid }
  await assert.rejects(directory.seen(desk, both), /not now/)
  await assert.rejects(directory.seen(desk, both), /not now/)
  fails = false
  const afterCrash = another({ merged: async ({ from }) => void heard.push(`again ${from}`) })
  await afterCrash.directory.seen(desk, both)
  await afterCrash.directory.seen(desk, both)
  assert.deepEqual(heard, [younger, younger, `again ${younger}`])

  await clock.tick(1)
  const third = await directory.seen(desk, { ...sighting, address: '9@lid' as ChatId })
  await directory.seen(desk, { ...sighting, alias: '9@lid' as ChatId })
  await clock.tick(MINUTE)
  await directory.seen(desk, sighting)
  await directory.seen(desk, sighting)
  assert.deepEqual(heard.slice(3), [third, third])
})

test('leads through a chain of merges', async (t) => {
  const { directory, clock } = await openDirectory(t)
  const addresses = [number, '1@lid', '2@lid', '3@lid'] as ChatId[]
  const ids = []
  for (const address of addresses) {
    ids.push(await directory.seen(desk, { ...sighting, address }))
    await clock.tick(1)
  }
  await directory.seen(desk, { ...sighting, address: addresses[3]!, alias: addresses[2]! })
  await directory.seen(desk, { ...sighting, address: addresses[2]!, alias: addresses[1]! })
  await directory.seen(desk, { ...sighting, address: addresses[1]!, alias: addresses[0]! })
  for (const id of ids) assert.equal((await directory.get(acme, id)).id, ids[0])
  for (const address of addresses) assert.equal(await directory.seen(desk, { ...sighting, address }), ids[0])
})

test('ends with one contact when many processes meet a person at once under all of its addresses', async (t) => {
  const { another, merges, database } = await openDirectory(t)
  const random = seededRandom(5)
  const directories = [another(), another(), another(), another()]
  const shapes = [
    { address: number, alias: null },
    { address: lid, alias: null },
    { address: number, alias: lid },
    { address: lid, alias: oldNumber },
    { address: oldNumber, alias: null },
  ]
  for (let round = 0; round < 5; round++) {
    const tenant = round % 2 === 0 ? acme : other
    await Promise.all(
      Array.from({ length: 40 }, (_, nth) => {
        const shape = shapes[Math.floor(random() * shapes.length)]!
        const { directory } = directories[nth % 4]!
        return directory.seen({ ...desk, tenant }, { ...sighting, ...shape, pushName: `Ana ${nth % 3}` })
      }),
    )
  }
  for (const tenant of [acme, other]) {
    const { directory } = another()
    const [one, ...more] = await directory.page(tenant, { after: '', limit: 10 })
    assert.equal(more.length, 0)
    assert.deepEqual(
      new Set(
        await Promise.all(
          shapes.map((shape) => directory.seen({ ...desk, tenant }, { ...sighting, ...shape })),
        ),
      ),
      new Set([one!.id]),
    )
    for (const { from, to } of merges.filter((merge) => merge.tenant === tenant)) {
      assert.equal((await directory.get(tenant, from)).id, one!.id)
      assert.notEqual(from, to)
    }
  }
  const rows = await database.read(
    'select contact from "ContactAddress" where contact not in (select id from "Contact")',
    [],
  )
  assert.deepEqual(rows, [])
})

test('loses no change of many at once, and refuses one that was made from an older version', async (t) => {
  const { another, directory } = await openDirectory(t)
  const { contact } = await directory.put(acme, number, { name: 'Ana' })
  await Promise.all(
    Array.from({ length: 12 }, (_, nth) =>
      another().directory.change(acme, contact.id, {
        addTags: [`t${nth}`],
        fields: { [`f${nth}`]: String(nth) },
      }),
    ),
  )
  const after = await directory.get(acme, contact.id)
  assert.equal(after.tags.length, 12)
  assert.equal(Object.keys(after.fields).length, 12)
  assert.equal(after.version, 13)
  assert.equal(await codeOf(directory.change(acme, contact.id, { name: 'x' }, 12)), 'CONTACT_CHANGED')
  assert.equal((await directory.change(acme, contact.id, { name: 'Ana' })).version, 13, 'nothing differs')
  const zoned = await directory.change(acme, contact.id, { name: '', zone: 'america/manaus' }, 13)
  assert.deepEqual([zoned.name, zoned.zone], [null, 'America/Manaus'])
  assert.equal((await directory.change(acme, contact.id, { zone: null })).zone, null)
})

test('refuses what is too long or not of the right form, naming the field, and changes nothing', async (t) => {
  const { directory } = await openDirectory(t)
  const { contact } = await directory.put(acme, number, {})
  const cases = [
    [{ name: 'x'.repeat(257) }, 'name'],
    [{ name: 'a\0b' }, 'name'],
    [{ picture: '\ud800' }, 'picture'],
    [{ zone: 'Mars' }, 'zone'],
    [{ tags: ['a,b'] }, 'tags'],
    [{ tags: [' a'] }, 'tags'],
    [{ addTags: Array.from({ length: 51 }, (_, nth) => `t${nth}`) }, 'tags'],
    [{ fields: { City: 'x' } }, 'fields.City'],
    [{ fields: { city: 'x'.repeat(1001) } }, 'fields.city'],
    [{ fields: Object.fromEntries(Array.from({ length: 65 }, (_, nth) => [`f${nth}`, '1'])) }, 'fields'],
  ] as const
  for (const [change, field] of cases) {
    await assert.rejects(
      directory.change(acme, contact.id, { name: 'other', ...change }),
      (error: { code?: string; details?: { field?: string } }) =>
        error.code === 'CONTACT_BAD_INPUT' && error.details?.field === field,
      field,
    )
  }
  assert.deepEqual(await directory.get(acme, contact.id), contact)
  assert.equal(await codeOf(directory.addNote(acme, contact.id, { by: 'x', text: ' ' })), 'CONTACT_BAD_INPUT')
})

test('drops from memory who another process gave an address or merged', async (t) => {
  const { directory, another, clock, events } = await openDirectory(t)
  const id = await directory.seen(desk, { ...sighting, address: lid })
  await clock.tick(1)
  await directory.seen(desk, sighting)
  const elsewhere = another()
  await elsewhere.directory.seen(desk, { ...sighting, alias: lid })
  for (const event of await events.read({ after: 0, limit: 100 })) directory.heard(event)
  assert.deepEqual((await directory.at(acme, lid, desk.instance))?.addresses, [number, lid])
  assert.equal(await directory.seen(desk, sighting), id)
})

test('keeps tenants apart', async (t) => {
  const { directory } = await openDirectory(t)
  const { contact } = await directory.put(acme, number, { tags: ['vip'] })
  assert.equal(await codeOf(directory.get(other, contact.id)), 'CONTACT_UNKNOWN')
  assert.equal(await codeOf(directory.change(other, contact.id, {})), 'CONTACT_UNKNOWN')
  assert.equal(await codeOf(directory.addNote(other, contact.id, { by: 'x', text: 'y' })), 'CONTACT_UNKNOWN')
  assert.deepEqual(await directory.page(other, { after: '', limit: 10, tag: 'vip' }), [])
  assert.equal(await directory.at(other, number), undefined)
})

test('seals what is known of a person', async (t) => {
  const { directory, database } = await openDirectory(t)
  const { contact } = await directory.put(acme, number, { name: 'Ana Lima', fields: { city: 'Recife' } })
  await directory.addNote(acme, contact.id, { by: 'opr', text: 'Recife again' })
  for (const table of ['Contact', 'ContactNote', 'Event']) {
    for (const row of await database.read(`select * from "${table}"`, [])) {
      for (const value of Object.values(row)) {
        const text = value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)
        assert.doesNotMatch(text, /Ana|Recife|987654321/)
      }
    }
  }
})

eachDatabase(({ dialect, test }) => {
  const count = dialect === 'sqlite' ? 50_000 : 3000

  test(`keeps 1,000 of ${count} contacts in memory, within the budget, and finds the others again`, async (t) => {
    const caches = { owner: undefined as ReturnType<ReturnType<typeof budget>['owner']> | undefined }
    const tested = await openDirectory(t, { ownerOf: () => caches.owner })
    const all = budget(tested.clock, 600_000)
    caches.owner = all.owner('acme')
    const { directory } = tested
    const at = tested.clock.now()
    const seen = (nth: number): Promise<string> =>
      directory.seen(desk, { ...sighting, address: chatOfNumber(String(491700000000 + nth)), at })
    let highest = 0
    let bytes = 0
    const first = await seen(0)
    for (let from = 1; from < count; from += 500) {
      await Promise.all(Array.from({ length: Math.min(500, count - from) }, (_, nth) => seen(from + nth)))
      highest = Math.max(highest, tested.caches.counts().most)
      bytes = Math.max(bytes, all.usedBytes)
    }
    assert(highest <= 1000 && highest > 500, `${highest} contacts`)
    assert(bytes <= 600_000, `${bytes} bytes`)
    assert.equal(await seen(0), first)
    const [total] = await tested.database.read('select count(*) as n from "Contact"', [])
    assert.equal(Number(total?.['n']), count)
    caches.owner.close()
    caches.owner = all.owner('acme')
    assert.equal(await seen(0), first, 'also when the share of the budget was given back meanwhile')
    assert.equal(all.usedBytes > 0, true)
  })
})

test('a contact costs no more than the memory plan says', async (t) => {
  const { directory } = await openDirectory(t)
  const id = await directory.seen(desk, { ...sighting, alias: lid })
  const contact = await directory.change(acme, id, {
    name: 'Ana Lima dos Santos',
    tags: ['customer', 'vip'],
    fields: { city: 'Recife', contract: '2026-000123' },
  })
  const bytes = estimateBytes(contact) + 88 + number.length + 16
  assert(bytes <= contactsMemory()[0]!.bytesEach, `${bytes} bytes`)
  t.diagnostic(`${bytes} bytes`)
})
