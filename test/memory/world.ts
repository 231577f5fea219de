import * as http from 'node:http'
import { type Phone, createSimulator } from '@eclusa/simulator'
import {
  ArrivalCheck,
  type ArrivalCounts,
  contactNumber,
  instanceNumber,
  instanceOf,
  planTraffic,
  type Step,
  textOf,
  type TrafficSizes,
} from './traffic-plan.ts'

/*
 * The world around the measured process, in a process of its own: the simulator, its contacts, and who makes them and
 * the callers of the API talk. It goes at the pace at which the other side takes: no more than WINDOW messages of each
 * direction are on their way. Told what to do over its message channel by `WorldProcess`.
 */

/** Messages of one direction on their way; the rest of the plan waits here and not in a queue of the other side. */
const WINDOW = 256
/** Requests at once. */
const CALLERS = 16
/** Nothing arrives any more: what is missing is lost. */
const GIVE_UP_AFTER_MS = 45_000
/** Instead of a status: the connection broke before there was one. */
const BROKEN = 0

export interface TrafficTarget {
  /** Where a message to a contact is posted as `{to, text}`, one address for each instance. */
  readonly sendUrls: readonly string[]
  readonly authorization: string
}

export interface TrafficProgress {
  /** Of the plan, 0 to 1. */
  readonly done: number
  readonly finished: boolean
  readonly sentOut: number
  readonly arrivedOut: number
  readonly sentIn: number
  readonly confirmedIn: number
  readonly refusedPosts: number
}

export type WorldOrder =
  | { readonly do: 'begin'; readonly sizes: TrafficSizes }
  | { readonly do: 'scan'; readonly instance: number; readonly qr: string }
  | { readonly do: 'traffic'; readonly target: TrafficTarget }
  | { readonly do: 'progress' }
  | { readonly do: 'storm' }
  | { readonly do: 'histories'; readonly instances: readonly number[]; readonly chats: number }
  | { readonly do: 'end' }

export interface WorldEnd {
  readonly outbound: ArrivalCounts
  /** The same message under the same WhatsApp id once more, which the official apps drop. */
  readonly repeatsDropped: number
  readonly retriesAskedByClients: number
  readonly retriesAskedByPhones: number
  readonly redeliveries: number
  readonly logins: number
  /** What correct clients do not do, by kind; the last 1,000. */
  readonly violations: Readonly<Record<string, number>>
  readonly problems: readonly string[]
  /** User and system time of the world itself. */
  readonly cpuMicros: number
}

// Node 24 throws and catches an error inside each crypto call that is given a buffer as its key; the stack nobody sees
// is a third of what a key agreement costs (0.14 → 0.09 ms), two thirds of an HMAC.
Error.stackTraceLimit = 0
const simulator = await createSimulator({ maxAccounts: 200_000, maxInbox: 16, maxTranscript: 16 })
let traffic: Traffic | undefined
process.on('message', ({ id, order }: { id: number; order: WorldOrder }) => {
  obey(order).then(
    (answer) => process.send?.({ id, answer: answer ?? null }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  )
})
process.on('disconnect', () => process.exit(0))
process.send?.({ whatsapp: simulator.url })

async function obey(order: WorldOrder): Promise<unknown> {
  switch (order.do) {
    case 'begin':
      traffic = new Traffic(order.sizes)
      return undefined
    case 'scan':
      return simulator
        .number(instanceNumber(order.instance))
        .scanQr(order.qr)
        .then(({ jid }) => jid)
    case 'traffic':
      started().start(order.target)
      return undefined
    case 'progress':
      return started().progress()
    case 'storm': {
      const devices = simulator.numbers().flatMap((phone) => phone.devices())
      for (const device of devices) device.drop()
      return devices.length
    }
    case 'histories':
      return sendHistories(order.instances, order.chats)
    case 'end':
      return started().end()
    default:
      return order satisfies never
  }
}

function started(): Traffic {
  if (traffic === undefined) throw new Error('begin first')
  return traffic
}

/** One after the other, as phones would; each in chunks small enough to travel inside the notification. */
async function sendHistories(instances: readonly number[], chats: number): Promise<number> {
  let bytes = 0
  for (const instance of instances) {
    const sent = await simulator.number(instanceNumber(instance)).sendHistory({
      chats,
      messagesPerChat: 20,
      textBytes: 80,
      chunks: 4,
      delivery: 'inline',
    })
    bytes += sent.inflatedBytes
  }
  return bytes
}

class Traffic {
  readonly #sizes: TrafficSizes
  readonly #steps: readonly Step[]
  readonly #check: ArrivalCheck
  // bounded by: the contacts of the plan
  readonly #contacts: readonly Phone[]
  readonly #jids: readonly string[]
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: CALLERS })
  /** The last post of a chat, until it is answered. bounded by: WINDOW */
  readonly #posts = new Map<number, Promise<void>>()
  #next = 0
  #sentIn = 0
  #sentOut = 0
  #lostIn = 0
  #lostOut = 0
  #confirmedBefore = 0
  #refusedPosts = 0
  #finished = false
  #failure: unknown

  constructor(sizes: TrafficSizes) {
    this.#sizes = sizes
    this.#steps = planTraffic(sizes)
    this.#check = new ArrivalCheck('out', sizes)
    const note = (message: { readonly text: string; readonly fromMe: boolean }): undefined => {
      if (!message.fromMe) this.#check.note(message.text)
      return undefined
    }
    this.#jids = Array.from(
      { length: sizes.instances },
      (_, instance) => simulator.addNumber(instanceNumber(instance), { name: `Company ${instance}` }).jid,
    )
    this.#contacts = Array.from({ length: sizes.contacts }, (_, contact) =>
      simulator.addContact(contactNumber(contact), { replyWith: note }),
    )
  }

  start(target: TrafficTarget): void {
    this.#confirmedBefore = this.#confirmed()
    this.#play(target).then(
      () => (this.#finished = true),
      (error: unknown) => (this.#failure = error),
    )
  }

  progress(): TrafficProgress {
    if (this.#failure !== undefined) throw this.#failure
    return {
      done: this.#next / this.#steps.length,
      finished: this.#finished,
      sentOut: this.#sentOut,
      arrivedOut: this.#check.arrived,
      sentIn: this.#sentIn,
      confirmedIn: this.#confirmed() - this.#confirmedBefore,
      refusedPosts: this.#refusedPosts,
    }
  }

  async end(): Promise<WorldEnd> {
    this.#agent.destroy()
    const { problems } = await simulator.checkSettled(30_000)
    const { totals } = simulator
    const { user, system } = process.cpuUsage()
    const violations: Record<string, number> = {}
    for (const { kind } of simulator.violations) violations[kind] = (violations[kind] ?? 0) + 1
    return {
      outbound: this.#check.result(),
      repeatsDropped: totals['repeatsDropped'] ?? 0,
      retriesAskedByClients: totals['retriesAskedByClients'] ?? 0,
      retriesAskedByPhones: totals['retriesAskedByPhones'] ?? 0,
      redeliveries: totals['redeliveries'] ?? 0,
      logins: totals['logins'] ?? 0,
      violations,
      problems: problems.slice(0, 20),
      cpuMicros: user + system,
    }
  }

  async #play(target: TrafficTarget): Promise<void> {
    for (const step of this.#steps) {
      await this.#until((waiting) => waiting < WINDOW)
      if (step.direction === 'in') {
        const instance = this.#jids[instanceOf(step.contact, this.#sizes)]
        this.#contacts[step.contact]?.send({ jid: instance ?? '' }, textOf(step))
        this.#sentIn += 1
      } else {
        this.#sentOut += 1
        this.#post(target, step)
      }
      this.#next += 1
    }
    await this.#until((waiting) => waiting <= 0)
  }

  /** Waits until both directions are as wanted, or nothing has arrived for so long that nothing will. */
  async #until(isFine: (waiting: number) => boolean): Promise<void> {
    let arrivedBefore = -1
    let since = performance.now()
    for (;;) {
      const confirmed = this.#confirmed() - this.#confirmedBefore
      const { arrived } = this.#check
      const waitingIn = this.#sentIn - confirmed - this.#lostIn
      const waitingOut = this.#sentOut - arrived - this.#lostOut
      if (isFine(waitingIn) && isFine(waitingOut)) return
      if (this.#failure !== undefined) throw this.#failure
      if (confirmed + arrived !== arrivedBefore) {
        arrivedBefore = confirmed + arrived
        since = performance.now()
      } else if (performance.now() - since > GIVE_UP_AFTER_MS) {
        // What is lost no longer counts as being on its way.
        this.#lostIn = this.#sentIn - confirmed
        this.#lostOut = this.#sentOut - arrived
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** After the one before it in the chat, whose order is the order of acceptance. */
  #post(target: TrafficTarget, step: Step): void {
    const { contact } = step
    const url = target.sendUrls[instanceOf(contact, this.#sizes)] ?? ''
    const body = JSON.stringify({ to: `+${contactNumber(contact)}`, text: textOf(step) })
    const key = `${contact} ${step.place}`
    const before = this.#posts.get(contact) ?? Promise.resolve()
    const post = before
      .then(() => this.#postUntilTaken(url, target.authorization, key, body))
      .catch((error: unknown) => (this.#failure ??= error))
      .then(() => {
        if (this.#posts.get(contact) === post) this.#posts.delete(contact)
      })
    this.#posts.set(contact, post)
  }

  /** A gateway that is short of memory says so; its callers come again, as they do when a connection breaks. */
  async #postUntilTaken(url: string, authorization: string, key: string, body: string): Promise<void> {
    const headers = {
      authorization,
      'idempotency-key': key,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    }
    for (;;) {
      const { status, text } = await this.#request(url, headers, body)
      if (status === 202) return
      if (status !== BROKEN && status !== 429 && status !== 503)
        throw new Error(`POST ${url}: ${status} ${text}`)
      this.#refusedPosts += 1
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  #request(
    url: string,
    headers: http.OutgoingHttpHeaders,
    body: string,
  ): Promise<{ readonly status: number; readonly text: string }> {
    return new Promise((resolve) => {
      const broken = (error: Error): void => resolve({ status: BROKEN, text: error.message })
      const request = http.request(url, { method: 'POST', agent: this.#agent, headers }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => (text += part))
        response.on('end', () => resolve({ status: response.statusCode ?? BROKEN, text }))
        response.on('error', broken)
      })
      request.on('error', broken)
      request.end(body)
    })
  }

  #confirmed(): number {
    return simulator.totals['deliveriesAcknowledged'] ?? 0
  }
}
