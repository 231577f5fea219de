import { Agent, get } from 'node:http'
import path from 'node:path'
import {
  chatOfNumber,
  makeInstanceId,
  MAX_DAYS_OF_REST,
  makeMessageId,
  makeWaMessageId,
} from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { defaultCare, defaultPacing } from '@eclusa/queue'
import { LiveMessage, LiveMessages } from '../packages/queue/src/live-messages.ts'
import type { PauseStore } from '../packages/queue/src/pause-store.ts'
import { MAX_PAUSES, Pauses } from '../packages/queue/src/pauses.ts'
import { Places } from '../packages/queue/src/places.ts'
import { Rates } from '../packages/queue/src/rates.ts'
import { MEAN_TIMES, SendLog } from '../packages/queue/src/send-log.ts'
import type { SettingStore } from '../packages/queue/src/setting-store.ts'
import { MAX_SETTINGS, Settings } from '../packages/queue/src/settings.ts'
import { exatron, startQueue } from '../packages/queue/test/harness.ts'
import { GatewayProcess } from '../test/harness.ts'
import type { Probe } from './memory-probe.ts'
import { BenchScope, report, round } from './report.ts'

/*
 * The figures of the memory table that can be measured by themselves: what an idle gateway takes under V8's own limits and
 * under those of the plan, and bytes of one chat in the window, one lane, one message that awaits receipts, one rate, pause
 * and setting, one idle HTTP connection. Heap after a forced collection; RSS as the system counts it.
 */

const CHATS = 5000
const LANES = 1000
const LIVE = 20_000
const ENTRIES = 10_000
const CONNECTIONS = 500
/** Nobody listens there. */
const NOWHERE = 'ws://127.0.0.1:9/ws/chat'
const PROBE = ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')]

const scope = new BenchScope()
try {
  const unbounded = await idleGateway(['--max-old-space-size=4096'])
  const planned = await idleGateway([])
  const chats = await bytesOfChats()
  const lanes = await bytesOfLanes()
  report('memory', 'npm run bench:memory', {
    idleGatewayMb: { v8OwnLimits: megabytes(unbounded.idle), planned: megabytes(planned.idle) },
    idleConnection: {
      heapBytes: Math.round((planned.connected.heapUsed - planned.before.heapUsed) / CONNECTIONS),
      rssBytes: Math.round((planned.connected.rss - planned.before.rss) / CONNECTIONS),
    },
    heapBytesEach: {
      chatInTheWindow: chats,
      lane: lanes,
      liveMessage: bytesOfLiveMessages(),
      rate: bytesOfRates(),
      sendLogEntry: bytesOfSendLog(),
      place: bytesOfPlaces(),
      pause: await bytesOfPauses(),
      pacingSetting: await bytesOfSettings(defaultPacing),
      limitSetting: await bytesOfSettings({
        ...defaultCare,
        holidays: Array.from({ length: MAX_DAYS_OF_REST }, (_, day) => `2027-01-${10 + day}`),
      }),
    },
  })
} finally {
  await scope.close()
}

interface Idle {
  readonly idle: Probe
  /** After the first requests, without connections. */
  readonly before: Probe
  readonly connected: Probe
}

async function idleGateway(flags: readonly string[]): Promise<Idle> {
  const gateway = await GatewayProcess.start(scope, { whatsapp: NOWHERE, nodeArgs: [...PROBE, ...flags] })
  await new Promise((resolve) => setTimeout(resolve, 10_000))
  const idle = await gateway.ask<Probe>('memory')
  const closeFirst = await connect(gateway, CONNECTIONS)
  closeFirst()
  const before = await gateway.ask<Probe>('memory')
  const close = await connect(gateway, CONNECTIONS)
  const connected = await gateway.ask<Probe>('memory')
  close()
  await gateway.stop()
  return { idle, before, connected }
}

/** Each connection has served one request and waits for the next. */
async function connect(gateway: GatewayProcess, count: number): Promise<() => void> {
  const agent = new Agent({ keepAlive: true, maxSockets: count, maxFreeSockets: count })
  await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<void>((resolve, reject) => {
          get(`${gateway.url}/livez`, { agent }, (response) => {
            response.resume()
            response.once('end', resolve)
          })
            .once('error', reject)
            // The end of the gateway resets what is still open.
            .on('socket', (socket) => socket.on('error', () => {}))
        }),
    ),
  )
  return () => agent.destroy()
}

/** Chats that may start and find no lane. */
async function bytesOfChats(): Promise<number> {
  const limits = { maxLanes: 1, maxOpenChats: 2 * CHATS, maxOpenChatsPerInstance: 2 * CHATS }
  const h = await startQueue(scope, { limits })
  h.sender.outcome = () => 'hang'
  await enqueue(h, 0, 10)
  const before = heapBytes()
  await enqueue(h, 10, CHATS)
  await h.quiet()
  return Math.round((heapBytes() - before) / (h.queue.dispatcher.stats().openChats - 10))
}

/** Chats whose message is being typed: what they cost beyond a chat in the window. */
async function bytesOfLanes(): Promise<number> {
  const limits = {
    maxLanes: LANES,
    maxLanesPerInstance: LANES,
    maxOpenChats: 2 * LANES,
    maxOpenChatsPerInstance: 2 * LANES,
  }
  const h = await startQueue(scope, { limits, pacing: defaultPacing, online: false })
  await enqueue(h, 0, LANES)
  const before = heapBytes()
  h.queue.dispatcher.instanceOnline(h.instance)
  await h.quiet()
  await until(() => h.queue.dispatcher.stats().lanes === LANES, 'all lanes are taken')
  await h.quiet()
  return Math.round((heapBytes() - before) / LANES)
}

async function enqueue(h: Awaited<ReturnType<typeof startQueue>>, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index += 500) {
    const chats = Array.from({ length: Math.min(500, to - index) }, (_, n) => numberOf(index + n))
    await Promise.all(chats.map((chat) => h.enqueue('a text of twenty one', { chat })))
  }
}

function bytesOfLiveMessages(): number {
  const instance = makeInstanceId()
  const live = new LiveMessages()
  const before = heapBytes()
  for (let seq = 0; seq < LIVE; seq++) {
    const identity = {
      id: makeMessageId(seq),
      seq,
      tenant: exatron,
      instance,
      chat: numberOf(seq),
      waMessageId: makeWaMessageId(),
      acceptedAt: 1,
    }
    live.add(
      new LiveMessage(identity, { processing: false, unconfirmed: true, deliveredAt: null, readAt: null }),
    )
  }
  const bytes = (heapBytes() - before) / LIVE
  return Math.round(live.size === LIVE ? bytes : Number.NaN)
}

function bytesOfRates(): number {
  const instance = makeInstanceId()
  const rates = new Rates(ENTRIES)
  const before = heapBytes()
  for (let index = 0; index < ENTRIES; index++)
    rates.take(`${instance}|${numberOf(index)}`, { everyMs: 6000, burst: 5 }, 1_764_000_000_000)
  const bytes = (heapBytes() - before) / ENTRIES
  return Math.round(rates.size === ENTRIES ? bytes : Number.NaN)
}

/** Each contact was written to as often as is planned for. */
function bytesOfSendLog(): number {
  const instance = makeInstanceId()
  const sent = new SendLog(ENTRIES)
  const before = heapBytes()
  for (let time = 0; time < MEAN_TIMES; time++) {
    for (let index = 0; index < ENTRIES; index++)
      sent.add(`${instance}|${numberOf(index)}`, 1_764_000_000_000 + time)
  }
  const bytes = (heapBytes() - before) / ENTRIES
  return Math.round(sent.size === ENTRIES ? bytes : Number.NaN)
}

/** A tenant each, which is the most they take. */
function bytesOfPlaces(): number {
  const places = new Places<string>(ENTRIES, 60_000)
  const before = heapBytes()
  for (let index = 0; index < 2 * ENTRIES; index++) {
    places.of(`tenant-${index >> 1}`, 1_000_000_000 + index, {
      rate: defaultCare.tenant,
      now: 1_764_000_000_000,
      within: Number.POSITIVE_INFINITY,
    })
  }
  const bytes = (heapBytes() - before) / ENTRIES
  return Math.round(places.size === ENTRIES ? bytes : Number.NaN)
}

/** Of whole instances: those of chats take less. */
async function bytesOfPauses(): Promise<number> {
  const pauses = await Pauses.open({ list: async () => [], insert: async () => {} } as unknown as PauseStore)
  const before = heapBytes()
  for (let index = 0; index < MAX_PAUSES; index++)
    await pauses.pause({ tenant: exatron, instance: makeInstanceId(), chat: null })
  const bytes = (heapBytes() - before) / MAX_PAUSES
  return Math.round(pauses.isTenantPaused(exatron) ? Number.NaN : bytes)
}

/** All fields set, none of them to a whole number. */
async function bytesOfSettings<Options extends { readonly enabled: boolean }>(
  options: Options,
): Promise<number> {
  const store = { list: async () => [], put: async () => {} } as unknown as SettingStore<Options>
  const settings = await Settings.open({ store, defaultOf: () => options, check: () => {} })
  const plain = JSON.stringify(options).replaceAll(/(\d+)(?=[,}])/g, '$1.5')
  const before = heapBytes()
  for (let index = 0; index < MAX_SETTINGS; index++)
    await settings.put({ tenant: exatron, instance: makeInstanceId(), options: JSON.parse(plain) })
  const bytes = (heapBytes() - before) / MAX_SETTINGS
  return Math.round(settings.own(exatron, null).enabled === undefined ? bytes : Number.NaN)
}

function numberOf(index: number): ReturnType<typeof chatOfNumber> {
  return chatOfNumber(`5511${String(index).padStart(9, '0')}`)
}

function heapBytes(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function megabytes(probe: Probe): Record<string, number> {
  return {
    rss: round(probe.rss / 2 ** 20, 1),
    heap: round(probe.heapUsed / 2 ** 20, 1),
    external: round(probe.external / 2 ** 20, 1),
  }
}
