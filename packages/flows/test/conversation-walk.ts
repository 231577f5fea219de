import assert from 'node:assert/strict'
import { type InstanceId, parseTenantId } from '@eclusa/kernel'
import { eachDatabase } from '@eclusa/storage/test-kit'
import fc from 'fast-check'
import { type Conversation, flowMigrations, type OperatorId, type SectorId } from '../src/index.ts'
import { type Bench, benchOn, contactOf } from './harness.ts'

/*
 * Random walks through the whole state machine, checked after each step against what must always hold: one
 * conversation per contact, nobody over capacity, lines in order and drained, every message in one history, in order.
 */

const CONTACTS = 6
const SECTORS = ['sales', 'support'] as const
/** `money` is known to one operator of each sector only. */
const SKILLS = [null, 'money'] as const

const contact = fc.nat({ max: CONTACTS - 1 })
const operator = fc.nat({ max: 2 })
const sector = fc.nat({ max: SECTORS.length - 1 })
const skill = fc.constantFrom(...SKILLS)

const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('write' as const), contact }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), contact, sector, skill }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('assign' as const), contact, operator }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('transfer' as const), contact, operator }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), contact, sector, skill }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('return' as const), contact }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('close' as const), contact }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const), contact }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const), contact }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('merge' as const), contact, into: contact }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('online' as const), operator, online: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('capacity' as const), operator, capacity: fc.nat({ max: 3 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('later' as const), ms: fc.nat({ max: 400_000 }) }) },
)

type Command = typeof command extends fc.Arbitrary<infer Value> ? Value : never

let nth = 0

/** Walks of up to 60 changes on one database, each with a tenant of its own. */
export function testWalks(runs: { readonly sqlite: number; readonly postgres: number }): void {
  eachDatabase(({ dialect, test, open }) => {
    test(`keeps its promises through ${runs[dialect]} random rows of changes`, async (t) => {
      const { database } = await open(t, flowMigrations)
      await fc.assert(
        fc.asyncProperty(
          fc.array(command, { minLength: 20, maxLength: 60, size: 'max' }),
          async (commands) => {
            nth++
            const bench = benchOn(t, database, {
              tenant: parseTenantId(`t${nth}`),
              instance: `ins_${String(nth).padStart(20, '0')}` as InstanceId,
            })
            await walk(bench, commands)
            await bench.conversations.stop()
          },
        ),
        { numRuns: runs[dialect] },
      )
    })
  })
}

async function walk(bench: Bench, commands: readonly Command[]): Promise<void> {
  const { conversations, tenant, clock } = bench
  const sectors: SectorId[] = []
  for (const name of SECTORS) sectors.push(await bench.sector(name))
  const serves = (
    ...skills: readonly (readonly string[])[]
  ): { sector: SectorId; skills: readonly string[] }[] =>
    skills.map((own, at) => ({ sector: sectors[at]!, skills: own }))
  const operators = [
    await bench.operator('Ana', 1, serves(['money'], [])),
    await bench.operator('Bia', 2, serves([])),
    await bench.operator('Caio', 1, serves([], ['money'])),
  ].map(({ id }) => id)
  const knows = async (id: OperatorId, one: Conversation): Promise<boolean> => {
    const own = (await conversations.operators.get(tenant, id))?.sectors.find(
      (at) => at.sector === one.sector,
    )
    return own !== undefined && (one.skill === null || own.skills.includes(one.skill))
  }
  // The order of the line as the commands made it: the ids that wait, the first first.
  let line: readonly string[] = []
  const written = new Map<number, string>()
  let journalId = 0

  for (const one of commands) {
    const before = await everything(bench)
    const ofContact =
      'contact' in one ? before.find((row) => row.contact === contactOf(one.contact)) : undefined
    const open = before.find((row) => row.id === ofContact?.id && row.state !== 'closed')
    const overBefore = new Map(
      (await conversations.operators.list(tenant)).map(({ id, assignedCount }) => [id, assignedCount]),
    )
    switch (one.do) {
      case 'write': {
        const { id } = await bench.write(one.contact, ++journalId)
        written.set(journalId, id)
        break
      }
      case 'wait':
        if (open !== undefined)
          await conversations.waitInLine(open, { by: 'flow', sector: sectors[one.sector]!, skill: one.skill })
        break
      case 'assign':
        if (open !== undefined)
          await conversations.assign(open, {
            by: 'api',
            operator: operators[one.operator]!,
            evenIfAway: true,
          })
        break
      case 'transfer':
        if (open !== undefined)
          await conversations.transferToOperator(open, { by: 'api', operator: operators[one.operator]! })
        break
      case 'move':
        if (open !== undefined)
          await conversations.transferToSector(open, {
            by: 'api',
            sector: sectors[one.sector]!,
            skill: one.skill,
          })
        break
      case 'return':
        if (open !== undefined) await conversations.returnToLine(open, { by: 'api' })
        break
      case 'close':
        if (open !== undefined) await conversations.close(open, { by: 'api', reason: 'done' })
        break
      case 'release': {
        if (open?.operator == null) break
        const planned = await conversations.plan.release(open, { by: 'flow', operator: open.operator })
        await bench.database.write(planned.statements)
        planned.after()
        break
      }
      case 'reopen':
        if (ofContact !== undefined) await conversations.reopen(ofContact, { by: 'api' })
        break
      case 'merge':
        await conversations.traces.merged(tenant, contactOf(one.contact), contactOf(one.into))
        break
      case 'online':
        await conversations.operators.change(tenant, operators[one.operator]!, {
          availability: one.online ? 'online' : 'offline',
        })
        break
      case 'capacity':
        await conversations.operators.change(tenant, operators[one.operator]!, { capacity: one.capacity })
        break
      case 'later':
        await clock.tick(one.ms)
        break
      default:
        one satisfies never
    }
    for (const id of sectors) await conversations.line.move(tenant, id)

    const now = await everything(bench)
    const open1 = now.filter(({ state }) => state !== 'closed')
    assert.equal(new Set(open1.map((row) => row.contact)).size, open1.length, 'one conversation per contact')
    const waiting: Conversation[] = []
    for (const id of sectors)
      waiting.push(...(await conversations.waiting(tenant, id, { after: 0, limit: 1000 })))
    const people = await conversations.operators.list(tenant)
    for (const { id, assignedCount, capacity } of people) {
      assert.equal(assignedCount, now.filter((row) => row.operator === id).length, 'counted right')
      assert(assignedCount <= Math.max(capacity, overBefore.get(id) ?? 0), 'nobody over capacity')
    }
    for (const row of waiting) {
      for (const person of people) {
        const isFree = person.availability === 'online' && person.assignedCount < person.capacity
        assert(!isFree || !(await knows(person.id, row)), 'nobody waits whom somebody free can answer')
      }
    }
    // Who came out of the line had nobody before them whom the same operator could have answered.
    const isDirect = ['assign', 'transfer', 'reopen', 'write', 'merge', 'close'].includes(one.do)
    for (const row of now) {
      const at = line.indexOf(row.id)
      if (at < 0 || row.operator === null) continue
      if (isDirect && ofContact?.id === row.id) continue
      // The older of two that became one, which has the younger's operator now.
      if (one.do === 'merge' && row.contact === contactOf(one.into)) continue
      for (const id of line.slice(0, at)) {
        const earlier = waiting.find((other) => other.id === id && other.sector === row.sector)
        assert(earlier === undefined || !(await knows(row.operator, earlier)), 'lines keep their order')
      }
    }
    line = waiting.map(({ id }) => id)
  }

  // Every message in exactly one history, in the order in which it was written.
  const filed = new Map<number, string>()
  for (const row of await everything(bench)) {
    const history = await conversations.history(row, { after: 0, limit: 500 })
    const ids = history.filter(({ kind }) => kind === 'inbound').map((entry) => entry.journalId!)
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => a - b),
    )
    for (const id of ids) {
      assert(!filed.has(id))
      filed.set(id, row.id)
    }
  }
  assert.deepEqual(new Set(filed.keys()), new Set(written.keys()))
}

async function everything({ conversations, tenant }: Bench): Promise<readonly Conversation[]> {
  return (await conversations.list(tenant, {}, { before: Number.MAX_SAFE_INTEGER, limit: 1000 })).items
}
