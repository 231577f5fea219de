import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseMessageId } from '@eclusa/kernel'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { DiskTrace, diskShimEnv } from '@eclusa/storage/test-kit'
import { crashLoop } from './crash-loop.ts'
import type { Report } from './crash-protocol.ts'

/*
 * Many power cuts from one run: a disk shim writes down every call that changes or syncs a file, and what a cut at any
 * of them would have left is put together afterwards. A cut costs the opening of a database, not a process.
 */

export interface TracedCuts {
  /** The compiled disk shim. */
  readonly library: string
  readonly cuts: number
  readonly seed: number
  readonly program?: string
}

export interface TracedCutsResult {
  readonly cuts: number
  /** Watched calls of the traces. */
  readonly calls: number
  /** Cuts with bytes that nobody had synced and that were there nevertheless. */
  readonly leaking: number
  /** Facts that had been told before a cut, and were looked for after it. */
  readonly told: number
  readonly lost: number
  readonly violations: readonly string[]
}

const CUTS_OF_A_TRACE = 100
/** Lives of the process that is traced: also what a killed one left unsynced is in it. */
const LIVES = 4

/** @throws when the traced process itself breaks a promise */
export async function tracedCuts(options: TracedCuts): Promise<TracedCutsResult> {
  const sum = { cuts: 0, calls: 0, leaking: 0, told: 0, lost: 0 }
  const violations: string[] = []
  for (let seed = options.seed; sum.cuts < options.cuts; seed++) {
    const cuts = Math.min(CUTS_OF_A_TRACE, options.cuts - sum.cuts)
    const one = await cutsOfOneTrace({ ...options, cuts, seed })
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += one[name]
    violations.push(...one.violations.map((line) => `trace ${seed}, ${line}`))
  }
  return { ...sum, violations }
}

async function cutsOfOneTrace({ library, cuts, seed, program }: TracedCuts): Promise<TracedCutsResult> {
  const home = mkdtempSync(join(realpathSync(tmpdir()), 'eclusa-trace-'))
  const folder = join(home, 'disk')
  mkdirSync(folder)
  const traceFile = join(home, 'trace')
  const env = { ...diskShimEnv({ library, watch: { folder }, trace: traceFile }), ECLUSA_PROOF_SAID: folder }
  try {
    // A mutant's run may be wrong by itself; whoever plants one looks at the cuts only.
    await crashLoop({
      place: { file: join(folder, 'eclusa.db') },
      kills: LIVES,
      seed,
      ...(program === undefined ? {} : { program }),
      envOf: () => env,
    })
    return cutAtRandom(traceFile, home, { cuts, random: seededRandom(seed) })
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

function cutAtRandom(
  traceFile: string,
  home: string,
  { cuts, random }: { readonly cuts: number; readonly random: () => number },
): TracedCutsResult {
  const trace = new DiskTrace(traceFile)
  const calls = trace.count()
  const places = Array.from({ length: cuts }, () => 1 + Math.floor(random() * calls)).toSorted(
    (a, b) => a - b,
  )
  const violations: string[] = []
  let call = 0
  let leaking = 0
  let told = 0
  let lost = 0
  for (const [index, place] of places.entries()) {
    for (; call < place; call++) trace.step()
    const folder = join(home, 'cut')
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder)
    const leaks = index % 2 === 0
    if (leaks) leaking++
    trace.cutInto(folder, () => leaks && random() < 0.3)
    const facts = trace.names
      .filter((name) => name.startsWith('said-'))
      .flatMap((name) => factsOf(trace.written(name)))
    told += facts.length
    const wrong = judge(folder, facts)
    lost += wrong.filter((line) => line.includes('LOST')).length
    violations.push(...wrong.map((line) => `call ${place}: ${line}`))
  }
  return { cuts, calls, leaking, told, lost, violations }
}

type Fact = Extract<Report, { kind: 'accepted' | 'send' | 'cancelled' }>

/** All that was told; a line that was being written is none. */
function factsOf(said: string): readonly Fact[] {
  return said
    .slice(0, said.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Report)
    .filter((report): report is Fact => ['accepted', 'send', 'cancelled'].includes(report.kind))
}

/** What is stored after a cut, against what had been told before it. */
function judge(folder: string, facts: readonly Fact[]): string[] {
  const isThere = readdirSync(folder).includes('eclusa.db')
  if (!isThere) return facts.length > 0 ? ['I1 LOST: there is no database'] : []
  const database = new DatabaseSync(join(folder, 'eclusa.db'))
  try {
    const damage = database
      .prepare('pragma integrity_check')
      .all()
      .map((row) => String(row['integrity_check']))
      .filter((line) => line !== 'ok')
    if (damage.length > 0) return damage.map((line) => `integrity_check: ${line}`)
    const has = database.prepare(`select 1 from sqlite_master where name = 'OutboundTombstone'`).get()
    if (has === undefined) return facts.length > 0 ? ['I1 LOST: there are no tables'] : []
    return [...missing(database, facts), ...torn(database)]
  } catch (error) {
    return [`the database does not open: ${String(error)}`]
  } finally {
    database.close()
  }
}

/** I1, I4, I5, I10. */
function missing(database: DatabaseSync, facts: readonly Fact[]): string[] {
  const rows = new Map<number, { readonly waMessageId: string; readonly hasBegun: boolean }>()
  for (const row of database.prepare('select seq, "waMessageId", "sentAt" from "MessageQueueItem"').all())
    rows.set(Number(row['seq']), {
      waMessageId: String(row['waMessageId']),
      hasBegun: row['sentAt'] !== null,
    })
  const ended = new Map<number, { readonly waMessageId: string; readonly state: string }>()
  for (const row of database.prepare('select seq, wa_message_id, state from "OutboundTombstone"').all())
    ended.set(Number(row['seq']), { waMessageId: String(row['wa_message_id']), state: String(row['state']) })
  const known = new Set([...rows.values(), ...ended.values()].map(({ waMessageId }) => waMessageId))
  return facts.flatMap((fact): string[] => {
    switch (fact.kind) {
      case 'accepted': {
        const { seq } = parseMessageId(fact.id)
        const message = rows.get(seq) ?? ended.get(seq)
        if (message === undefined) return [`I1 LOST: ${fact.ref} was accepted as ${fact.id}`]
        return message.waMessageId === fact.waMessageId ? [] : [`I4 ${fact.ref} has another WhatsApp id`]
      }
      case 'send':
        // Its send began, so a crash must know that it may have arrived.
        return known.has(fact.waMessageId) ? [] : [`I5 LOST: the send of ${fact.ref} began and is not known`]
      case 'cancelled':
        return []
      default:
        return fact satisfies never
    }
  })
}

/** What is written in one unit is there as a whole. */
function torn(database: DatabaseSync): string[] {
  const count = (sql: string): number => Number(database.prepare(sql).get()?.['n'])
  const both = count(
    `select count(*) as n from "MessageQueueItem" join "OutboundTombstone" using (seq) where status <> 'FAILED'`,
  )
  const of = (type: string): number => count(`select count(*) as n from "Event" where type = '${type}'`)
  const sent = count(
    `select count(*) as n from "OutboundTombstone" where state in ('SENT', 'DELIVERED', 'READ')`,
  )
  const cancelled = count(`select count(*) as n from "OutboundTombstone" where state = 'CANCELLED'`)
  return [
    ...(both > 0 ? [`I1 ${both} messages have ended and still wait`] : []),
    ...(sent !== of('outbound.sent') ? [`I1 ${sent} were sent, with ${of('outbound.sent')} events`] : []),
    ...(cancelled !== of('outbound.cancelled')
      ? [`I1 ${cancelled} were cancelled, with ${of('outbound.cancelled')} events`]
      : []),
  ]
}
