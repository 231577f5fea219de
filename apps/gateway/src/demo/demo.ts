import {
  type ChatId,
  chatOfNumber,
  type Clock,
  type InstanceId,
  type Logger,
  MINUTE,
  type MessageId,
  parseTenantId,
  SECOND,
  sleep,
  type TypedEmitter,
  withDeadline,
} from '@eclusa/kernel'
import type { Conversations } from '@eclusa/flows'
import type { Outbox, QueueEvents } from '@eclusa/queue'
import type { SessionEvents, SessionPool } from '@eclusa/session'
import type { LoggedEvent } from '@eclusa/storage'
import type { Config } from '../config.ts'
import type { EventTail } from '../events/event-tail.ts'
import type { GatewayFlows } from '../flows.ts'
import type { Instance } from '../instances/instance-store.ts'
import type { Instances } from '../instances/instances.ts'
import type { LiveView } from './live-view.ts'
import { Clinic } from './clinic.ts'
import {
  CLINIC_TENANT,
  clinicNumber,
  clinicVisits,
  DEMO_TENANT,
  type DemoContact,
  demoContacts,
  type DemoNumber,
  demoInstances,
} from './script.ts'
import { SimulatorProcess } from './simulator-process.ts'

export interface DemoOptions {
  readonly instances: Instances
  readonly sessions: SessionPool
  readonly sessionEvents: TypedEmitter<SessionEvents>
  readonly outbox: Outbox
  readonly queueEvents: TypedEmitter<QueueEvents>
  readonly conversations: Conversations
  readonly flows: GatewayFlows
  readonly tail: EventTail
  readonly view: LiveView
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  /** Where sessions connect again when the demo ends. */
  readonly whatsappUrl: string
  /** Tells the trusted key of a simulator; null when it does not say. */
  readonly rootKeyOf: (whatsappUrl: string) => Promise<Uint8Array | null>
}

/** Longest wait for a message to arrive and for its answer to be read; then the dialogue goes on without it. */
const INBOUND_WITHIN_MS = MINUTE
const READ_WITHIN_MS = 3 * MINUTE
/** Pauses that make it a few messages a minute. */
const BETWEEN_TURNS_MS = { min: 6 * SECOND, max: 14 * SECOND }
const BETWEEN_DIALOGUES_MS = { min: 20 * SECOND, max: 45 * SECOND }
/** The first contact writes at once, the next ones after this each. */
const BETWEEN_FIRST_WORDS_MS = 7 * SECOND
/** Messages of other origin (the reader's own `curl`) whose end is awaited to answer them. */
const MAX_GUESTS = 100

/** On while nobody can be disturbed by it: `auto` needs WhatsApp itself as server, no real instance and no production. */
export function wantsDemo(
  config: Pick<Config, 'demo' | 'production'> & { readonly ownServer: boolean },
  hasReal: boolean,
): boolean {
  switch (config.demo) {
    case 'off':
      return false
    case 'on':
      // One process speaks to WhatsApp or to a simulator, and real numbers come first.
      return !hasReal
    case 'auto':
      return !hasReal && !config.production && !config.ownServer
    default:
      return config.demo satisfies never
  }
}

/**
 * The first minute: a simulated WhatsApp in a process of its own, two instances of a tenant `demo` that link
 * themselves over the real protocol, and contacts who write forever. The answers go through the real outbox.
 */
export class Demo {
  readonly #options: DemoOptions
  readonly #simulator: SimulatorProcess
  // bounded by: the two of the script, and the clinic
  readonly #shops: readonly Instance[]
  readonly #clinic: Clinic
  readonly #over = new AbortController()
  // bounded by: what `start` listens to
  #leave: (() => void)[] = []
  #ending: Promise<void> | null = null
  // bounded by: the contacts of the script, each waits for one message
  readonly #awaitedInbound = new Map<string, (chat: ChatId) => void>()
  // bounded by: the contacts of the script, each waits for one message
  readonly #awaitedEnds = new Map<MessageId, () => void>()
  // bounded by: MAX_GUESTS
  readonly #guests = new Map<MessageId, { readonly contact: DemoNumber; readonly shopNumber: string }>()
  // Contacts by chat, under their number and the id they write from. bounded by: twice the contacts of the script
  readonly #byChat = new Map<ChatId, DemoNumber>()
  // Texts of answers about to be accepted, by chat. bounded by: the contacts of the script
  readonly #answering = new Map<ChatId, string>()

  private constructor(options: DemoOptions, simulator: SimulatorProcess, shops: readonly Instance[]) {
    this.#options = options
    this.#simulator = simulator
    this.#shops = shops
    for (const contact of people) this.#byChat.set(chatOfNumber(contact.number), contact)
    const clinic = shops.at(-1) as Instance
    this.#clinic = new Clinic(clinic, {
      ...options,
      write: (visit, words, answer) => this.#write(visit, { shop: clinic, words, answer }),
      answer: async (shop, chat, text) => {
        this.#answering.set(chat, text)
        await this.#answer(shop, chat, text)
      },
    })
  }

  /** Resolves when the simulator runs and the instances are on their way. @throws GATEWAY_SIMULATOR_FAILED */
  static async start(options: DemoOptions): Promise<Demo> {
    const { instances, sessions, clock, log } = options
    const shops = await findOrCreateShops(instances)
    const simulator = await SimulatorProcess.start(clock)
    const rootKey = await options.rootKeyOf(simulator.whatsappUrl)
    const demo = new Demo(options, simulator, shops)
    try {
      await demo.#clinic.prepare()
      sessions.useServer({ url: simulator.whatsappUrl, rootKey })
      instances.simulatorStarted(() => demo.end())
      await demo.#run()
      log.info({ tenant: DEMO_TENANT, simulatorPid: simulator.pid }, 'demo started: nothing reaches WhatsApp')
      return demo
    } catch (error) {
      await demo.end()
      throw error
    }
  }

  /** The instance and contact to try things with. */
  get example(): { readonly instance: InstanceId; readonly contact: DemoContact } {
    const contact = demoContacts[0] as DemoContact
    return { instance: (this.#shops[contact.writesTo] as Instance).id, contact }
  }

  /**
   * Ends the simulated sessions and the simulator, and makes the process trust WhatsApp's own key again. Rows and
   * messages of the demo stay. Idempotent; can be repeated when it failed.
   */
  end(): Promise<void> {
    this.#ending ??= this.#end().catch((error: unknown) => {
      this.#ending = null
      throw error
    })
    return this.#ending
  }

  async #end(): Promise<void> {
    const { instances, sessions, log, whatsappUrl } = this.#options
    this.#over.abort()
    for (const leave of this.#leave) leave()
    // First: a session started from here on would keep the process with the simulator.
    instances.simulatorStopping()
    const release = (): Promise<unknown> =>
      Promise.all(this.#shops.map(({ id }) => sessions.releaseInstance(id)))
    await release()
    await this.#simulator.stop()
    // A start that was under way may have made a session once more.
    await release()
    sessions.useServer({ url: whatsappUrl, rootKey: null })
    instances.simulatorStopped()
    log.info({ tenant: DEMO_TENANT }, 'demo ended: its instances are stopped and hidden, its data is kept')
  }

  async #run(): Promise<void> {
    const { instances, sessionEvents, tail, log } = this.#options
    this.#leave = [
      sessionEvents.on(
        'session.changed',
        (change) =>
          void this.#onSession(change).catch((error: unknown) => {
            if (this.#over.signal.aborted) return
            log.warn({ instance: change.instance, err: error }, 'the demo could not link its instance')
          }),
      ),
      ...this.#followQueue(),
      await tail.follow((event) => this.#onEvent(event)),
    ]
    void this.#simulator.ended.then(() => this.#onSimulatorEnded())
    for (const { number, name } of numbers) await this.#simulator.addNumber(number, name)
    for (const { number, name } of people) await this.#simulator.addContact(number, name)
    for (const shop of this.#shops) await instances.connect(shop)
    demoContacts.forEach((contact, index) => {
      this.#talk(contact, index * BETWEEN_FIRST_WORDS_MS).catch((error: unknown) => {
        if (!this.#over.signal.aborted) log.warn({ err: error }, 'a contact of the demo fell silent')
      })
    })
    this.#visits(this.#shops.at(-1) as Instance).catch((error: unknown) => {
      if (!this.#over.signal.aborted) log.warn({ err: error }, 'the clinic of the demo fell silent')
    })
  }

  /** The visits to the clinic, from when its number is online. */
  async #visits(clinic: Instance): Promise<void> {
    await this.#online(clinic.id)
    await this.#clinic.run(this.#over.signal)
  }

  async #onSimulatorEnded(): Promise<void> {
    if (this.#over.signal.aborted) return
    const { log } = this.#options
    log.warn({}, 'the simulator ended by itself: the demo is over; start the gateway again for another one')
    await this.end().catch((error: unknown) => log.error({ err: error }, 'the demo did not end as it should'))
  }

  /** The simulator forgets everything between starts, so the instances are unknown to it and link anew. */
  async #onSession(change: SessionEvents['session.changed']): Promise<void> {
    const index = this.#shops.findIndex(({ id }) => id === change.instance)
    const shop = this.#shops[index]
    const number = numbers[index]?.number
    if (shop === undefined || number === undefined || this.#over.signal.aborted) return
    const { state, qr } = change.view
    if (state === 'qr' && qr !== null) await this.#simulator.scan(number, qr.text)
    if (state === 'logged_out' || state === 'new') await this.#options.instances.connect(shop)
  }

  async #talk(contact: DemoContact, firstWordsAfterMs: number): Promise<void> {
    const { clock, log } = this.#options
    const { signal } = this.#over
    const shop = this.#shops[contact.writesTo]
    if (shop === undefined) return
    await this.#online(shop.id)
    await sleep(clock, firstWordsAfterMs, signal)
    for (let round = 0; ; round++) {
      const dialogue = contact.dialogues[round % contact.dialogues.length] ?? []
      for (const [words, answer] of dialogue) {
        try {
          await this.#turn(contact, shop, words, answer)
        } catch (error) {
          signal.throwIfAborted()
          log.debug({ instance: shop.id, err: error }, 'a turn of the demo went wrong')
        }
        await sleep(clock, this.#between(BETWEEN_TURNS_MS), signal)
      }
      await sleep(clock, this.#between(BETWEEN_DIALOGUES_MS), signal)
    }
  }

  /** The contact writes, the company answers, the contact reads. */
  async #turn(contact: DemoContact, shop: Instance, words: string, answer: string): Promise<void> {
    const chat = await this.#write(contact, { shop, words, answer })
    await this.#answer(shop, chat, answer)
  }

  /** Resolves with the contact's chat when the message is in the journal. `answer`: what will be said to it. */
  async #write(
    contact: DemoNumber,
    {
      shop,
      words,
      answer,
    }: { readonly shop: Instance; readonly words: string; readonly answer: string | null },
  ): Promise<ChatId> {
    const shopNumber = numbers[this.#shops.indexOf(shop)]?.number ?? ''
    const awaited = `${shop.id} ${words}`
    try {
      const { promise: arrived, resolve: onArrived } = Promise.withResolvers<ChatId>()
      this.#awaitedInbound.set(awaited, (chat) => {
        this.#byChat.set(chat, contact)
        // Before anything can answer.
        if (answer !== null) this.#answering.set(chat, answer)
        onArrived(chat)
      })
      await this.#simulator.send(contact.number, shopNumber, words)
      return await withDeadline(this.#options.clock, INBOUND_WITHIN_MS, 'a message of the demo', arrived)
    } finally {
      this.#awaitedInbound.delete(awaited)
    }
  }

  /** Resolves when the contact has read it. */
  async #answer(shop: Instance, chat: ChatId, text: string): Promise<void> {
    const { clock, conversations, outbox } = this.#options
    let answerId: MessageId | null = null
    try {
      const { promise: ended, resolve: onEnded } = Promise.withResolvers<void>()
      const content = { kind: 'text', text } as const
      const conversation = await conversations.notClosedIn(shop.id, chat, chat)
      const accepted = await outbox.enqueue({
        tenant: shop.tenant,
        instance: shop.id,
        chat,
        content,
        // As an answer through the API: it stands in the history.
        ...(conversation === undefined
          ? {}
          : {
              alongside: ({ seq }) => [
                conversations.plan.outboundEntry(conversation, { messageSeq: seq, text, by: 'api' }),
              ],
            }),
      })
      answerId = accepted.id
      this.#awaitedEnds.set(accepted.id, onEnded)
      await withDeadline(clock, READ_WITHIN_MS, 'an answer of the demo', ended)
    } finally {
      if (answerId !== null) this.#awaitedEnds.delete(answerId)
    }
  }

  #onEvent(event: LoggedEvent): void {
    this.#clinic.onEvent(event)
    const shop = this.#shops.find(({ id }) => id === event.instance)
    if (shop === undefined || event.type !== 'inbound.received') return
    const { chat, text } = event.payload as { chat: ChatId; text: string | null }
    const awaited = this.#awaitedInbound.get(`${shop.id} ${text}`)
    awaited?.(chat)
    // The turn that waited notes the contact's chat a moment later; the name is wanted now.
    const from =
      this.#byChat.get(chat) ??
      demoContacts.find(({ dialogues }) => dialogues.flat().some(([words]) => words === text)) ??
      clinicVisits.find(({ says }) => says.some((words) => words === text))
    this.#options.view.inbound({
      at: event.at,
      from: from?.name ?? 'somebody',
      to: shop.name,
      text: text ?? '(no text)',
    })
  }

  #followQueue(): (() => void)[] {
    const { queueEvents, view } = this.#options
    return [
      queueEvents.on('outbound.accepted', (event) => {
        const shop = this.#shops.find(({ id }) => id === event.instance)
        if (shop === undefined) return
        const contact = this.#byChat.get(event.chat)
        const answer = this.#answering.get(event.chat) ?? null
        this.#answering.delete(event.chat)
        view.accepted({
          id: event.id,
          at: event.at,
          from: shop.name,
          to: contact?.name ?? 'a contact',
          text: answer,
        })
        // The clinic's flow writes by itself: who reads that is no guest's contact.
        const isGuests = answer === null && shop.tenant === DEMO_TENANT
        if (isGuests && contact !== undefined && this.#guests.size < MAX_GUESTS) {
          const shopNumber = numbers[this.#shops.indexOf(shop)]?.number ?? ''
          this.#guests.set(event.id, { contact, shopNumber })
        }
      }),
      queueEvents.on('outbound.reading', (event) => view.step(event.id, 'reading', event.at)),
      queueEvents.on('outbound.typing', (event) => view.step(event.id, 'typing', event.at)),
      queueEvents.on('outbound.sent', (event) => view.step(event.id, 'sent', event.at)),
      queueEvents.on('outbound.delivered', (event) => view.step(event.id, 'delivered', event.at)),
      queueEvents.on('outbound.read', (event) => {
        view.step(event.id, 'read', event.at)
        this.#awaitedEnds.get(event.id)?.()
        this.#answerGuest(event.id)
      }),
      queueEvents.on('outbound.failed', (event) => {
        view.failed(event.id, event.failure?.code ?? 'unknown', event.at)
        this.#awaitedEnds.get(event.id)?.()
        this.#guests.delete(event.id)
      }),
    ]
  }

  /** Who sends something to a contact with a `curl` of their own gets an answer. */
  #answerGuest(id: MessageId): void {
    const guest = this.#guests.get(id)
    if (guest === undefined) return
    this.#guests.delete(id)
    const { clock, log } = this.#options
    sleep(clock, 2 * SECOND, this.#over.signal)
      .then(() => this.#simulator.send(guest.contact.number, guest.shopNumber, 'Got it, thank you!'))
      .catch((error: unknown) => log.debug({ err: error }, 'a contact of the demo could not answer'))
  }

  #online(instance: InstanceId): Promise<void> {
    const { sessions, sessionEvents } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const stopListening = sessionEvents.on('session.changed', (change) => {
      if (change.instance === instance && change.view.state === 'online') resolve()
    })
    const onOver = (): void => reject(this.#over.signal.reason)
    this.#over.signal.addEventListener('abort', onOver, { once: true })
    if (sessions.view(instance).state === 'online') resolve()
    return promise.finally(() => {
      stopListening()
      this.#over.signal.removeEventListener('abort', onOver)
    })
  }

  #between({ min, max }: { readonly min: number; readonly max: number }): number {
    return min + this.#options.random() * (max - min)
  }
}

/** All numbers of the demo's companies, the clinic's last; all people who write to them. */
const numbers: readonly DemoNumber[] = [...demoInstances, clinicNumber]
const people: readonly DemoNumber[] = [...demoContacts, ...clinicVisits]

/** The demo's instances of an earlier start are used again, with all they hold; in the order of the numbers. */
async function findOrCreateShops(instances: Instances): Promise<readonly Instance[]> {
  const known = instances.all().filter((instance) => instance.simulated)
  const shops: Instance[] = []
  for (const { name } of numbers) {
    const found = known.find((instance) => instance.name === name)
    const tenant = parseTenantId(name === clinicNumber.name ? CLINIC_TENANT : DEMO_TENANT)
    shops.push(found ?? (await instances.create({ tenant, name, simulated: true })))
  }
  return shops
}
