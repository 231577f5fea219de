import assert from 'node:assert/strict'
import { addressesOf, type LedgerKind, parseAutoReplies } from '@eclusa/contacts'
import { parseSectorId } from '@eclusa/flows'
import {
  type ChatId,
  EclusaError,
  type InboundMessage,
  type InstanceId,
  makeWaMessageId,
  type MessageId,
  MINUTE,
  SECOND,
} from '@eclusa/kernel'
import { ManualClock, settle } from '@eclusa/kernel/test-kit'
import {
  type CareOptions,
  defaultCare,
  defaultPacing,
  type OutboundMessage,
  type Purpose,
} from '@eclusa/queue'
import { openTestDatabase, type TestDatabase } from '@eclusa/storage/test-kit'
import { acme, type GatewayProcess, modelMigrations, openProcess, shops } from './gateway-process.ts'
import { OptOutJudge } from './judge.ts'

/* A gateway without a wire, whose process dies and begins anew, and the people who write to it and are written to. */

export type Failure = 'no' | 'unknown' | 'offline'
export type Lookup = 'finds' | 'fails' | 'hangs'

/** Everything at once, typed as people do, or typed and held back by the limits of a number that is in use. */
export const MODES = ['plain', 'paced', 'careful'] as const
export type Mode = (typeof MODES)[number]

const careful: CareOptions = { ...defaultCare, quiet: { from: 0, to: 0 }, maxOptOutsPercent: 100 }
/** Turns of the event loop without a call to the database after which nothing is under way but timers. */
const CALM_TURNS = 4

export class OptOutWorld {
  readonly judge = new OptOutJudge()
  readonly clock = new ManualClock()
  /** Of sends from here on, in order. */
  readonly failures: Failure[] = []
  lookup: Lookup = 'finds'
  /** Messages that came in cannot be processed, and are set aside after five tries. */
  walksFail = false
  readonly #db: TestDatabase
  readonly #mode: Mode
  // LIDs whose number the engine has learnt. bounded by: the run
  readonly #numbers = new Map<string, ChatId>()
  readonly #online = new Set<InstanceId>(shops)
  #process: GatewayProcess | null = null
  #lives = 0
  #textCount = 0
  /** What no test expects. */
  readonly faults: unknown[] = []

  static async open(
    t: { after(run: () => Promise<void>): void },
    options: { readonly mode: Mode; readonly dialect: 'sqlite' | 'postgres' },
  ): Promise<OptOutWorld> {
    const world = new OptOutWorld(
      await openTestDatabase(t, modelMigrations, { dialect: options.dialect }),
      options.mode,
    )
    await world.start()
    await world.#furnish()
    return world
  }

  private constructor(db: TestDatabase, mode: Mode) {
    this.#db = db
    this.#mode = mode
  }

  get process(): GatewayProcess {
    assert(this.#process !== null, 'the gateway runs')
    return this.#process
  }

  async start(): Promise<void> {
    const process = await openProcess({
      database: this.#db.database,
      clock: this.clock,
      pacing: { ...defaultPacing, enabled: this.#mode !== 'plain' },
      care: this.#mode === 'careful' ? careful : { ...careful, enabled: false },
      sender: {
        send: (message) => this.#send(process, message),
        markRead: async () => undefined,
        setPresence: async () => undefined,
      },
      numbers: this.#numbers,
      lookup: (signal) => this.#lookUp(signal),
      walks: () => {
        if (this.walksFail) throw new Error('a fault in the inbox')
      },
      seed: ++this.#lives,
    })
    this.#process = process
    // What waits on a clock that stands still must not hold up who moves it.
    this.try(() => process.start())
    await this.quiet()
    for (const shop of this.#online) process.queue.dispatcher.instanceOnline(shop)
    await this.quiet()
  }

  /** The process is gone in the middle of whatever it does. */
  async crash(): Promise<void> {
    this.process.kill()
    this.#process = null
    await this.quiet()
    await this.start()
  }

  /** It ends as it should, and begins anew. */
  async restart(): Promise<void> {
    const stopped = this.process.stop()
    for (let second = 0; second < 12; second++) {
      await this.clock.tick(SECOND)
      await this.quiet()
    }
    this.process.kill()
    void stopped.catch(() => undefined)
    await this.start()
  }

  connection(shop: InstanceId, isOnline: boolean): void {
    const { dispatcher } = this.process.queue
    if (isOnline) {
      this.#online.add(shop)
      dispatcher.instanceOnline(shop)
    } else {
      this.#online.delete(shop)
      dispatcher.instanceOffline(shop)
    }
  }

  /** Waits until nothing is under way but what waits for the clock; then what was said has been heard, or will be. */
  async quiet(): Promise<void> {
    const { database } = this.#db
    for (let calm = 0; calm < CALM_TURNS;) {
      await settle(1)
      calm = database.stats().waitingCount === 0 ? calm + 1 : 0
    }
    if (this.judge.unheard.length === 0) return
    const rows = await database.read(
      'SELECT wa_message_id FROM "InboundMessage" WHERE settled_at IS NULL',
      [],
    )
    const open = new Set(rows.map((row) => row['wa_message_id']))
    for (const id of this.judge.unheard) if (!open.has(id)) this.judge.heard(id)
  }

  /** In steps short enough for what happens in between. */
  async advance(ms: number): Promise<void> {
    const stepMs = Math.max(SECOND, ms / 12)
    for (let left = ms; left > 0; left -= stepMs) {
      await this.clock.tick(Math.min(stepMs, left))
      await this.quiet()
    }
  }

  /** Long enough that nothing waits any more that waits for a time: walks and flows that hang, and what rests. */
  async end(): Promise<void> {
    this.lookup = 'finds'
    this.walksFail = false
    this.failures.length = 0
    for (const shop of shops) if (!this.#online.has(shop)) this.connection(shop, true)
    for (let pass = 0; pass < 3; pass++) await this.advance(7 * MINUTE)
  }

  /** Begun, and not waited for: it may wait for the clock, or its process may die. Refusals are answers. */
  try(work: () => Promise<unknown>): void {
    work().catch((error: unknown) => {
      if (!(error instanceof EclusaError)) this.faults.push(error)
    })
  }

  async says(o: {
    readonly shop: InstanceId
    readonly chat: ChatId
    readonly words: string | null
    readonly kind: Parameters<OptOutJudge['says']>[2]
    readonly alias?: ChatId
    readonly addressedAs?: string
  }): Promise<void> {
    const { shop, chat, words, kind, alias = null, addressedAs = chat } = o
    const message: InboundMessage = {
      chat,
      author: chat,
      addressedAs,
      alias,
      waMessageId: makeWaMessageId(),
      fromMe: false,
      content:
        words === null ? { kind: 'other', name: 'sticker', text: null } : { kind: 'text', text: words },
      quoted: null,
      mentions: [],
      pushName: 'Ana',
      sentAt: this.clock.now(),
    }
    this.judge.says(chat, message.waMessageId, kind)
    if (alias !== null) {
      this.judge.namesBoth([chat, alias], message.waMessageId)
      this.#numbers.set(alias, chat)
    }
    const { process } = this
    await this.#db.database.write(process.journal.append(acme, shop, message), { instance: shop })
    if (this.#process === process) process.journalled(shop, chat)
  }

  /** As `POST /v1/instances/{id}/messages` does. */
  async asks(o: {
    readonly shop: InstanceId
    readonly chat: ChatId
    readonly purpose?: Exclude<Purpose, 'confirmation'>
    readonly sendAt?: number
  }): Promise<MessageId> {
    const { shop, chat, ...more } = o
    const text = `asked ${++this.#textCount} of them`
    this.judge.asks(chat, text, o.purpose === 'proactive')
    const { queue, canonicalChat } = this.process
    const accepted = await queue.outbox.enqueue({
      tenant: acme,
      instance: shop,
      chat: await canonicalChat(shop, chat),
      content: { kind: 'text', text },
      ...more,
    })
    return accepted.id
  }

  /** As `POST /v1/conversations/{id}/messages` does, by whoever has it. */
  async answers(shop: InstanceId, chat: ChatId): Promise<void> {
    const { conversations, queue, canonicalChat } = this.process
    const found = await conversations.notClosedIn(shop, chat)
    if (found === undefined) return
    const text = `answered ${++this.#textCount} times`
    this.judge.asks(chat, text, false)
    await queue.outbox.enqueue({
      tenant: acme,
      instance: shop,
      chat: await canonicalChat(shop, found.chat),
      content: { kind: 'text', text },
      alongside: ({ seq }) => [conversations.plan.outboundEntry(found, { messageSeq: seq, text, by: 'api' })],
    })
  }

  /** An operator ends the conversation, with the survey or without. */
  async closes(shop: InstanceId, chat: ChatId, withSurvey: boolean): Promise<void> {
    const { conversations, flows } = this.process
    const found = await conversations.notClosedIn(shop, chat)
    if (found === undefined) return
    if (withSurvey) await flows.runner.startByHand(found, await flows.definitions.version(acme, 'survey', 1))
    else await conversations.close(found, { by: 'api', reason: 'done' })
  }

  /** As `POST /v1/tenants/{tenant}/ledger` does. */
  async records(chat: ChatId, kind: LedgerKind): Promise<void> {
    const { people, queue } = this.process
    if (kind === 'opt_in' || kind === 'consent') this.judge.recordsStart(chat)
    await people.ledger.record(acme, [
      { contact: chat, kind, channel: 'api', proof: null, recordedBy: 'api', expiresAt: null },
    ])
    if (kind === 'opt_out') this.judge.recordsStop(chat)
    const addresses = addressesOf(await people.directory.at(acme, chat), chat)
    for (const shop of shops) {
      for (const address of addresses) await queue.dispatcher.standingChanged(shop, address)
    }
  }

  /** As an import of contacts does with each line. */
  async imports(chat: ChatId): Promise<void> {
    await this.process.people.directory.put(acme, chat, { name: 'Ana Maria', addTags: ['imported'] })
  }

  async erases(chat: ChatId): Promise<void> {
    const { people, personTraces } = this.process
    const contact = await people.directory.at(acme, chat)
    this.judge.tells(chat, 'erased')
    this.judge.erased(addressesOf(contact, chat))
    await personTraces.erase(acme, chat, contact)
  }

  async #send(process: GatewayProcess, message: OutboundMessage): Promise<{ readonly ackedAt: number }> {
    if (this.#process !== process) return new Promise(() => {})
    const { chat, content, waMessageId } = message
    this.judge.sends(chat, { text: content.text, id: waMessageId })
    const failure = this.failures.shift()
    if (failure === undefined) return { ackedAt: this.clock.now() }
    const isOffline = failure === 'offline'
    throw new EclusaError({
      code: isOffline ? 'SESSION_OFFLINE' : 'SESSION_SEND_FAILED',
      status: 503,
      retry: 'later',
      delivered: failure === 'unknown' ? 'unknown' : 'no',
      message: `a scripted failure: ${failure}`,
    })
  }

  async #lookUp(signal: AbortSignal): Promise<unknown> {
    if (this.lookup === 'fails') throw new Error('down')
    if (this.lookup === 'finds') return { order: 'on its way' }
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })
  }

  /** Flows, sectors, somebody who answers, and a desk that is always closed. */
  async #furnish(): Promise<void> {
    const { conversations, flows, people } = this.process
    const sector = parseSectorId('sales')
    await conversations.sectors.create({
      tenant: acme,
      id: sector,
      name: 'Sales',
      isDefault: true,
      rule: 'least_busy',
    })
    const { id } = await conversations.operators.create(acme, {
      name: 'Bia',
      isAdmin: false,
      capacity: 100_000,
      hours: null,
      sectors: [{ sector, skills: [] }],
    })
    await conversations.operators.change(acme, id, { availability: 'online' })
    for (const [name, document] of Object.entries(FLOWS)) {
      const { version } = await flows.definitions.put(acme, name, document)
      await flows.definitions.publish(acme, name, version)
    }
    await people.settings.put(
      acme,
      'auto_replies',
      parseAutoReplies({
        tenant: { hours: { zone: 'UTC', week: {} }, text: 'automatic: we are closed', cooldownMs: MINUTE },
        operators: {},
      }),
    )
    await people.settings.put(acme, 'confirmations', {
      optOutText: 'confirmed: nothing more from us',
      optInText: 'automatic: you get our messages again',
    })
    await this.quiet()
  }
}

const FLOWS: Readonly<Record<string, object>> = {
  main: {
    format: 1,
    starts: 'everybody',
    start: 'hello',
    stopQuestion: 'automatic: do you mean all messages?',
    steps: [
      { id: 'hello', kind: 'send', text: 'automatic: hello', next: 'menu' },
      {
        id: 'menu',
        kind: 'menu',
        text: 'automatic: which?',
        tries: 3,
        again: 'automatic: a number, please',
        options: [
          { label: 'order', next: 'lookup' },
          { label: 'rate', next: 'ask' },
          { label: 'wait', next: 'wait' },
        ],
        timeOut: { minutes: 5, next: 'late' },
        fallback: 'person',
      },
      {
        id: 'lookup',
        kind: 'lookup',
        url: 'https://shop.example/order',
        save: [{ field: 'order', from: 'order' }],
        next: 'found',
        fallback: 'lost',
      },
      { id: 'found', kind: 'send', text: 'automatic: found', next: 'again' },
      {
        id: 'again',
        kind: 'lookup',
        url: 'https://shop.example/order',
        save: [{ field: 'order', from: 'order' }],
        next: 'assign',
        fallback: 'lost',
      },
      { id: 'lost', kind: 'send', text: 'automatic: not found', next: 'person' },
      { id: 'assign', kind: 'assign', to: { sector: 'sales' }, text: 'automatic: somebody comes' },
      {
        id: 'ask',
        kind: 'question',
        text: 'automatic: how many?',
        save: 'count',
        answer: { kind: 'number' },
        tries: 2,
        next: 'close',
        fallback: 'person',
      },
      {
        id: 'close',
        kind: 'close',
        text: 'automatic: goodbye',
        satisfaction: { text: 'automatic: how was it?', thanks: 'automatic: thanks', minutes: 10 },
      },
      { id: 'wait', kind: 'wait', minutes: 3, next: 'late' },
      { id: 'late', kind: 'send', text: 'automatic: still there?', next: 'person' },
      { id: 'person', kind: 'hand_over', text: 'automatic: somebody comes' },
    ],
  },
  survey: {
    format: 1,
    starts: 'by_hand',
    start: 'close',
    steps: [
      {
        id: 'close',
        kind: 'close',
        satisfaction: { text: 'automatic: how was it?', thanks: 'automatic: thanks', minutes: 10 },
      },
    ],
  },
}
