/*
 * What an account's further contacts take of the heap, and what a message to a large group takes while it is sent: in a
 * process of its own, run with `node --expose-gc contact-growth.ts`; prints one JSON object. The simulator runs in
 * another process and the keys are in SQLite, so that neither is counted.
 */
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { CacheBudget } from '@eclusa/bounded-cache'
import { until } from '@eclusa/kernel/test-kit'
import { BufferJSON, closeSocket, type SignalDataSet, type SignalKeyStore } from '../src/index.ts'
import { collect, liveBytes, simulatorProcess } from './simulator-process.ts'

export interface ContactGrowth {
  readonly contacts: number
  /** Heap and external memory for each further contact, who wrote and was answered. */
  readonly heldBytes: number
  /** Of that what the caches are charged with. */
  readonly cachedBytes: number
  /** Heap and external memory for each further contact once the caches are full, those included. */
  readonly beyondFullBytes: number
  /** What is left of it when the life of everything cached is over. */
  readonly leftBytes: number
  /** Live memory that one message to a group of all of them takes at most while it is sent, for each member. */
  readonly groupBytes: number
}

/** V8 keeps code and type feedback of what runs for the first time, and small rings fill up. */
const WARM_UP = 400
const DAY_MS = 86_400_000
const NUMBER = '5511900000001'
/** Less than the contacts of the warm-up fill. */
const FULL_BYTES = 512 * 1024

async function growth(contacts: number, warmUp: number): Promise<ContactGrowth> {
  // In this order: what is code and feedback of the first run is there before the second.
  const empty = await growthOf(contacts, warmUp)
  const full = await growthOf(contacts, warmUp, FULL_BYTES)
  return { ...empty, beyondFullBytes: full.beyondFullBytes }
}

async function growthOf(contacts: number, warmUp: number, budgetBytes?: number): Promise<ContactGrowth> {
  const { call, make, link, stop } = await simulatorProcess()
  let ahead = 0
  const account = await link(NUMBER, rowsInSqlite())
  const now = (): number => Date.now() + ahead
  const budget =
    budgetBytes === undefined ? undefined : new CacheBudget({ maxBytes: budgetBytes, ceilingShare: 1, now })
  const socket = make(account, { now, cacheOwner: budget?.owner('all') })
  let isOpen = false
  let received = 0
  socket.ev.on('connection.update', ({ connection }) => (isOpen ||= connection === 'open'))
  socket.ev.on('messages.upsert', ({ messages }) => (received += messages.length))
  await until(() => isOpen, 'open')
  let met = 0
  const meet = async (count: number): Promise<{ held: number; cached: number; left: number }> => {
    for (const end = met + count; met < end; met++) {
      const number = String(5_521_900_000_000 + met)
      await call('/contacts', { number })
      await call(`/contacts/${number}/send`, { to: NUMBER, text: 'hello' })
      await until(() => received > met, 'the message')
      await socket.sendMessage(`${number}@s.whatsapp.net`, { text: 'hi' })
    }
    await collect()
    const held = liveBytes()
    const keys = socket.socketStats().keys?.cache?.bytes ?? 0
    const cached = socket.cacheStats().reduce((sum, { bytes }) => sum + bytes, keys)
    if (budget !== undefined) return { held, cached, left: held }
    ahead += DAY_MS
    socket.sweepCaches()
    await collect()
    return { held, cached, left: liveBytes() }
  }
  const peakOfSend = async (): Promise<number> => {
    const members = Array.from({ length: met }, (_, n) => String(5_521_900_000_000 + n))
    const { jid } = (await call('/groups', { subject: 'Loja', members: [NUMBER, ...members] })) as {
      jid: string
    }
    await collect()
    const idle = liveBytes()
    let most = idle
    const sampler = setInterval(() => {
      globalThis.gc?.()
      most = Math.max(most, liveBytes())
    }, 20)
    await socket.sendMessage(jid, { text: 'to all' })
    clearInterval(sampler)
    return most - idle
  }
  const before = await meet(warmUp)
  const after = await meet(contacts)
  if (budget !== undefined && budget.usedBytes < budget.maxBytes * 0.9)
    throw new Error('the caches are not full')
  const groupBytes = budget === undefined ? await peakOfSend() : 0
  await closeSocket(socket)
  stop()
  return {
    contacts,
    // The caches were empty before.
    heldBytes: Math.round((after.held - before.left) / contacts),
    cachedBytes: Math.round(after.cached / contacts),
    beyondFullBytes: Math.round((after.held - before.held) / contacts),
    leftBytes: Math.round((after.left - before.left) / contacts),
    groupBytes: Math.round(groupBytes / met),
  }
}

function rowsInSqlite(): SignalKeyStore {
  const database = new DatabaseSync(':memory:')
  database.exec('create table keys (id text primary key, json text not null) strict')
  const read = database.prepare('select json from keys where id = ?')
  const write = database.prepare('insert or replace into keys values (?, ?)')
  const forget = database.prepare('delete from keys where id = ?')
  return {
    async get(type, ids) {
      const found: Record<string, never> = {}
      for (const id of ids) {
        const row = read.get(`${type}:${id}`) as { json: string } | undefined
        if (row !== undefined) found[id] = JSON.parse(row.json, BufferJSON.reviver) as never
      }
      return found
    },
    async set(changes: SignalDataSet) {
      for (const [type, values] of Object.entries(changes)) {
        for (const [id, value] of Object.entries(values ?? {})) {
          if (value === null || value === undefined) forget.run(`${type}:${id}`)
          else write.run(`${type}:${id}`, JSON.stringify(value, BufferJSON.replacer))
        }
      }
    },
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(
    `${JSON.stringify(await growth(Number(process.argv[2] ?? 400), Number(process.argv[3] ?? WARM_UP)))}\n`,
  )
  process.exit(0)
}
