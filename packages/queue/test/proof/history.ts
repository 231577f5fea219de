import type { Priority } from '../../src/index.ts'

/*
 * What callers and WhatsApp saw of a queue, in the order they saw it, and what must hold of it whatever happened to the
 * process: the invariants I1 to I5, I10 and I11. Nothing here looks into the queue; a history is written by a judge
 * that outlives it. (I6 is checked by the take-over model, I7 and I9 by whoever drains the queue, I8 by the backlog.)
 */

/** How a send ended as WhatsApp and the sender see it. */
export type SendEnd =
  /** WhatsApp has it and said so. */
  | 'acknowledged'
  /** WhatsApp refused it and said so. */
  | 'refused'
  /** The sender does not know: the acknowledgement was lost, or the message was. */
  | 'unknown'

interface Send {
  /** Place in the history. */
  readonly at: number
  /** Which life of the process sent it. */
  readonly life: number
  readonly waMessageId: string
  end: SendEnd | null
  endedAt: number
}

/** One message as its caller knows it; the text it sends names it. */
export interface Message {
  readonly ref: string
  readonly chat: string
  readonly priority: Priority
  /** When it was first called. */
  readonly calledAt: number
  /** One per answer: with an Idempotency-Key there may be several. */
  readonly answers: { readonly at: number; readonly id: string; readonly waMessageId: string }[]
  /** It was refused for sure, and never accepted. */
  isRefused: boolean
  readonly sends: Send[]
  cancelledAt: number | null
}

/** What is stored of a message when all is quiet. */
export interface EndState {
  /** A state of the tombstone, or of a row that still waits; undefined: nobody knows it. */
  stateOf(id: string): string | undefined
  /** Terminal events in the log: `outbound.sent`, `outbound.failed`, `outbound.cancelled`. */
  endsOf(id: string): readonly string[]
}

export class History {
  // All bounded by: the run that is judged.
  readonly messages = new Map<string, Message>()
  readonly crashes: number[] = []
  readonly #wrong: string[] = []
  readonly #inFlight = new Map<string, { readonly message: Message; readonly send: Send }>()
  #at = 0

  get life(): number {
    return this.crashes.length
  }

  /** Messages on the wire now. */
  get inFlightCount(): number {
    return this.#inFlight.size
  }

  called(ref: string, chat: string, priority: Priority): void {
    const at = this.#at++
    if (this.messages.has(ref)) return
    this.messages.set(ref, {
      ref,
      chat,
      priority,
      calledAt: at,
      answers: [],
      isRefused: false,
      sends: [],
      cancelledAt: null,
    })
  }

  answered(ref: string, answer: { readonly id: string; readonly waMessageId: string }): void {
    this.#message(ref).answers.push({ at: this.#at++, ...answer })
  }

  refused(ref: string): void {
    this.#message(ref).isRefused = true
  }

  cancelled(ref: string): void {
    this.#message(ref).cancelledAt = this.#at++
  }

  /** WhatsApp gets a message; returns how its end is told. */
  sent(ref: string, chat: string, waMessageId: string): (end: SendEnd) => void {
    const message = this.messages.get(ref)
    if (message === undefined || message.chat !== chat) {
      this.#wrong.push(`I1 a message nobody called was sent: ${ref} to ${chat}`)
      return () => undefined
    }
    const send: Send = { at: this.#at++, life: this.life, waMessageId, end: null, endedAt: Infinity }
    message.sends.push(send)
    const other = this.#inFlight.get(chat)
    if (other !== undefined)
      this.#wrong.push(`I3 ${ref} was sent while ${other.message.ref} of ${chat} was on the wire`)
    this.#inFlight.set(chat, { message, send })
    return (end) => {
      if (send.end !== null) return
      send.end = end
      send.endedAt = this.#at++
      if (this.#inFlight.get(chat)?.send === send) this.#inFlight.delete(chat)
    }
  }

  /** The process is gone; what was on the wire has no one who waits for it. */
  crashed(): void {
    this.crashes.push(this.#at++)
    this.#inFlight.clear()
  }

  /** Everything that is wrong, one line each, the invariant first; empty when all holds. */
  violations(end: EndState): string[] {
    return [
      ...this.#wrong,
      ...nothingLost(this, end),
      ...orderKept(this),
      ...oneWaMessageId(this),
      ...duplicatesExplained(this),
      ...cancelledNeverSent(this),
      ...sameKeySameId(this),
    ]
  }

  /** Sends of a message after WhatsApp had it already. */
  get duplicateCount(): number {
    let count = 0
    for (const { sends } of this.messages.values()) {
      const first = sends.findIndex(({ end }) => end !== 'refused')
      if (first !== -1) count += sends.length - 1 - first
    }
    return count
  }

  #message(ref: string): Message {
    const message = this.messages.get(ref)
    if (message === undefined) throw new Error(`no call of ${ref}`)
    return message
  }
}

const SENT = new Set(['SENT', 'DELIVERED', 'READ'])

/** I1: an accepted message is sent, failed with a reason, cancelled, or still stored; and each ends once. */
export function nothingLost(history: History, end: EndState): string[] {
  const wrong: string[] = []
  for (const { ref, answers, sends, isRefused, cancelledAt } of history.messages.values()) {
    if (isRefused && answers.length === 0 && sends.length > 0)
      wrong.push(`I1 ${ref} was refused, and sent all the same`)
    const [answer] = answers
    if (answer === undefined) continue
    const state = end.stateOf(answer.id)
    const reached = sends.some((send) => send.end === 'acknowledged')
    if (state === undefined) wrong.push(`I1 LOST: ${ref} was accepted as ${answer.id} and nobody knows it`)
    else if (SENT.has(state) && sends.length === 0)
      wrong.push(`I1 LOST: ${ref} is ${state} and was never sent`)
    else if (cancelledAt !== null && state !== 'CANCELLED')
      wrong.push(`I1 ${ref} was cancelled and is ${state}`)
    else if (reached && !SENT.has(state)) wrong.push(`I1 ${ref} was acknowledged by WhatsApp and is ${state}`)
    const ends = end.endsOf(answer.id)
    const isOver = state !== undefined && state !== 'PENDING' && state !== 'PROCESSING'
    if (state !== undefined && ends.length !== (isOver ? 1 : 0))
      wrong.push(`I1 ${ref} is ${state} and has the terminal events [${ends.join(', ')}]`)
  }
  return wrong
}

/**
 * I2 as a partial order: for A and B of one chat and priority, if the answer to A came before the call of B, then A is
 * sent for the first time before B is. Calls at the same time may go either way.
 */
export function orderKept(history: History): string[] {
  const lines = new Map<string, Message[]>()
  for (const message of history.messages.values()) {
    if (message.sends.length === 0) continue
    const key = `${message.chat} ${message.priority}`
    const line = lines.get(key)
    if (line === undefined) lines.set(key, [message])
    else line.push(message)
  }
  const wrong: string[] = []
  for (const line of lines.values()) {
    let latest: Message | undefined
    for (const message of line.toSorted((a, b) => a.sends[0]!.at - b.sends[0]!.at)) {
      const answeredAt = message.answers[0]?.at ?? Infinity
      if (latest !== undefined && latest.calledAt > answeredAt)
        wrong.push(
          `I2 REORDER: ${message.ref} was accepted before ${latest.ref} was called, and sent after it`,
        )
      if (latest === undefined || message.calledAt > latest.calledAt) latest = message
    }
  }
  return wrong
}

/** I4: sends of a message carry one WhatsApp id, the one that its caller was told. */
export function oneWaMessageId(history: History): string[] {
  const wrong: string[] = []
  const owners = new Map<string, string>()
  for (const { ref, chat, answers, sends } of history.messages.values()) {
    const ids = new Set([...answers, ...sends].map(({ waMessageId }) => waMessageId))
    if (ids.size > 1) wrong.push(`I4 ${ref} has the WhatsApp ids ${[...ids].join(', ')}`)
    for (const id of ids) {
      const owner = owners.get(`${chat} ${id}`)
      if (owner !== undefined) wrong.push(`I4 ${owner} and ${ref} share the WhatsApp id ${id}`)
      owners.set(`${chat} ${id}`, ref)
    }
  }
  return wrong
}

/**
 * I5: a message is sent again only because its last send failed, or because the process crashed since; one crash
 * doubles at most one message of a chat, and that before any other of the chat is sent.
 */
export function duplicatesExplained(history: History): string[] {
  const wrong: string[] = []
  const doubled = new Map<string, string>()
  const sendsOfChat = new Map<string, { readonly at: number; readonly ref: string }[]>()
  for (const { ref, chat, sends } of history.messages.values()) {
    const list = sendsOfChat.get(chat) ?? []
    for (const { at } of sends) list.push({ at, ref })
    sendsOfChat.set(chat, list)
    for (const [index, send] of sends.entries()) {
      const before = sends[index - 1]
      if (before === undefined || (before.end !== null && before.end !== 'acknowledged')) continue
      if (before.life === send.life) {
        wrong.push(`I5 DUP: ${ref} was sent again though WhatsApp had it and nothing crashed`)
        continue
      }
      // Blamed on the crash that ended the life of the earlier send.
      const key = `${chat} ${before.life}`
      const other = doubled.get(key)
      if (other !== undefined && other !== ref)
        wrong.push(`I5 DUP: the crash of life ${before.life} doubled ${other} and ${ref} of ${chat}`)
      doubled.set(key, ref)
    }
  }
  for (const [chat, list] of sendsOfChat) {
    // What was sent since, per message that was sent before.
    const since = new Map<string, Set<string>>()
    for (const { ref } of list.toSorted((a, b) => a.at - b.at)) {
      for (const other of since.get(ref) ?? []) {
        if (urgencyOf(history, other) >= urgencyOf(history, ref))
          wrong.push(`I5 DUP: ${ref} of ${chat} came again after ${other}, which is not more urgent`)
      }
      for (const others of since.values()) others.add(ref)
      since.set(ref, new Set())
      // Nothing comes again after one that many others followed.
      if (since.size > 50) since.delete(since.keys().next().value!)
    }
  }
  return wrong
}

const URGENCY: Readonly<Record<Priority, number>> = { urgent: 0, normal: 1, bulk: 2 }

function urgencyOf(history: History, ref: string): number {
  const message = history.messages.get(ref)
  return message === undefined ? 0 : URGENCY[message.priority]
}

/** I10: what was cancelled with success is not sent after it. */
export function cancelledNeverSent(history: History): string[] {
  const wrong: string[] = []
  for (const { ref, cancelledAt, sends } of history.messages.values()) {
    if (cancelledAt !== null && sends.some(({ at }) => at > cancelledAt))
      wrong.push(`I10 ${ref} was sent after its cancel`)
  }
  return wrong
}

/** I11: all answers to one Idempotency-Key name one message. */
export function sameKeySameId(history: History): string[] {
  const wrong: string[] = []
  const owners = new Map<string, string>()
  for (const { ref, answers } of history.messages.values()) {
    const ids = new Set(answers.map(({ id }) => id))
    if (ids.size > 1) wrong.push(`I11 ${ref} was answered with ${[...ids].join(' and ')}`)
    for (const id of ids) {
      const owner = owners.get(id)
      if (owner !== undefined) wrong.push(`I11 ${owner} and ${ref} have the same id ${id}`)
      owners.set(id, ref)
    }
  }
  return wrong
}
