import type { QueryClient } from '@tanstack/react-query'
import { useSyncExternalStore } from 'react'
import { query } from './client.ts'
import { EVENT_TYPES } from './event-types.ts'
import type { GatewayEvent, LoggedEvent } from './types.ts'

// One stream of events per tab. It says what changed, and the queries that show it are read again; what no log keeps
// (who types just now) is held here.

/** Where a message stands on its way; told live only. */
export type Stage = 'reading' | 'thinking' | 'typing' | 'sending'

export type StreamState = 'connecting' | 'open' | 'lost'

export interface StageOfMessage {
  readonly stage: Stage
  /** When it began, by our own clock. */
  readonly since: number
  /** When each stage began. */
  readonly times: Readonly<Partial<Record<Stage, number>>>
  readonly chat: string
  readonly instance: string
}

const MAX_STAGES = 2000
/** Events that the monitor can show. */
export const MAX_EVENTS = 1000
/** A query is read again at most this often, however fast events come. */
const REFRESH_MS = 700
const RETRY_MS = { first: 1000, most: 15_000 }

/** A value that components can follow. */
class Store<T> {
  #value: T
  // bounded by: the components on the screen
  readonly #listeners = new Set<() => void>()

  constructor(value: T) {
    this.#value = value
  }

  readonly get = (): T => this.#value

  set(value: T): void {
    this.#value = value
    for (const listener of this.#listeners) listener()
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

const stages = new Store<ReadonlyMap<string, StageOfMessage>>(new Map())
const events = new Store<readonly LoggedEvent[]>([])
const streamState = new Store<StreamState>('connecting')

export function useStages(): ReadonlyMap<string, StageOfMessage> {
  return useSyncExternalStore(stages.subscribe, stages.get)
}

/** Newest first, at most MAX_EVENTS. */
export function useEvents(): readonly LoggedEvent[] {
  return useSyncExternalStore(events.subscribe, events.get)
}

export function clearEvents(): void {
  events.set([])
}

export function useStreamState(): StreamState {
  return useSyncExternalStore(streamState.subscribe, streamState.get)
}

/** Follows the gateway until the function returned is called. */
export function followEvents(client: QueryClient): () => void {
  const refresh = makeRefresher(client)
  let source: EventSource | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let pause = RETRY_MS.first
  let lastId = ''
  // Taken into the stores together, so that a burst is one drawing.
  let waiting: GatewayEvent[] = []
  let flush: ReturnType<typeof setTimeout> | undefined
  let ended = false

  const take = (message: MessageEvent<string>): void => {
    if (message.lastEventId !== '') lastId = message.lastEventId
    waiting.push(JSON.parse(message.data) as GatewayEvent)
    if (waiting.length > MAX_EVENTS) waiting.shift()
    flush ??= setTimeout(() => {
      flush = undefined
      const batch = waiting
      waiting = []
      stages.set(stagesAfter(stages.get(), batch))
      const logged = batch.filter((event): event is LoggedEvent => event.id !== null)
      if (logged.length > 0) events.set([...logged.toReversed(), ...events.get()].slice(0, MAX_EVENTS))
      for (const event of batch) refresh.because(event.type)
    }, 50)
  }

  const connect = (): void => {
    const opened = new EventSource(`/v1/events${query({ after: lastId })}`)
    source = opened
    opened.addEventListener('open', () => {
      pause = RETRY_MS.first
      if (streamState.get() === 'lost') void client.invalidateQueries()
      streamState.set('open')
    })
    for (const type of EVENT_TYPES) opened.addEventListener(type, take)
    opened.addEventListener('resync', (message: MessageEvent<string>) => {
      lastId = String((JSON.parse(message.data) as { readonly id: number }).id)
      void client.invalidateQueries()
    })
    opened.addEventListener('error', () => {
      streamState.set('lost')
      // The browser tries again by itself unless it was refused; then we do, ever more slowly.
      if (opened.readyState !== EventSource.CLOSED || ended) return
      retry = setTimeout(connect, pause)
      pause = Math.min(RETRY_MS.most, pause * 2)
      // If it was refused because the session ended, this tells.
      refresh.session()
    })
  }
  connect()
  return () => {
    ended = true
    clearTimeout(retry)
    clearTimeout(flush)
    refresh.stop()
    source?.close()
    stages.set(new Map())
    events.set([])
    streamState.set('connecting')
  }
}

const STAGES: Readonly<Record<string, Stage>> = {
  'outbound.reading': 'reading',
  'outbound.thinking': 'thinking',
  'outbound.typing': 'typing',
  'outbound.sending': 'sending',
}

/** What is known of messages under way after these events; the oldest is forgotten past MAX_STAGES. */
export function stagesAfter(
  before: ReadonlyMap<string, StageOfMessage>,
  batch: readonly GatewayEvent[],
  now: number = Date.now(),
): ReadonlyMap<string, StageOfMessage> {
  const after = new Map(before)
  let changed = false
  for (const { type, instance, payload } of batch) {
    if (!type.startsWith('outbound.')) continue
    const id = String(payload['id'])
    const stage = STAGES[type]
    if (stage === undefined && !after.has(id)) continue
    changed = true
    const known = after.get(id)
    after.delete(id)
    if (stage === undefined) continue
    const since = typeof payload['at'] === 'number' ? payload['at'] : now
    after.set(id, {
      stage,
      since,
      times: { ...known?.times, [stage]: since },
      chat: String(payload['chat']),
      instance: instance ?? '',
    })
    if (after.size > MAX_STAGES) after.delete(after.keys().next().value as string)
  }
  return changed ? after : before
}

/** Which queries an event makes stale, by the first part of their keys. */
export function staleAfter(type: string): readonly string[] {
  const [noun] = type.split('.')
  switch (noun) {
    case 'session':
    case 'instance':
      return ['instances', 'queue']
    case 'outbound':
      return ['queue', 'messages', 'message', 'history', 'conversations']
    case 'inbound':
      return ['conversations', 'history']
    case 'conversation':
    case 'contact':
    case 'operator':
    case 'sector':
      return ['conversations', 'conversation', 'history', 'sectors', 'contact']
    case 'flow':
      return ['flows', 'runs', 'conversations']
    case 'queue':
    case 'pacing':
    case 'limits':
    case 'proactive':
    case 'cold_chats':
      return ['queue', 'settings']
    case 'memory':
      return ['memory']
    case 'webhook':
      return ['webhooks']
    case 'alert':
      return ['alerts']
    default:
      return []
  }
}

function makeRefresher(client: QueryClient): { because(type: string): void; session(): void; stop(): void } {
  // bounded by: the names in `staleAfter`
  const pending = new Map<string, ReturnType<typeof setTimeout>>()
  const soon = (name: string): void => {
    if (pending.has(name)) return
    pending.set(
      name,
      setTimeout(() => {
        pending.delete(name)
        void client.invalidateQueries({ queryKey: [name] })
      }, REFRESH_MS),
    )
  }
  return {
    because: (type) => {
      // A stage changes nothing that is read.
      if (!(type in STAGES)) for (const name of staleAfter(type)) soon(name)
    },
    session: () => soon('session'),
    stop: () => {
      for (const timer of pending.values()) clearTimeout(timer)
      pending.clear()
    },
  }
}
