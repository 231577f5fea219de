import type { Stanza } from './wire.ts'

export type MailKind = 'message' | 'receipt' | 'notification'

/** A stanza the server owes a device until the device has acknowledged it. */
export interface Mail {
  readonly kind: MailKind
  /** Its place in the device's order of arrival. */
  readonly seq: number
  readonly node: Stanza
  readonly queuedAt: number
  /** How often it was written to a connection. */
  attempts: number
  /** The connection it was last written to; another one means it must be written again. */
  deliveredOn: object | undefined
  /** A fault lost, delayed, repeated or altered it, so what the client does with it proves nothing. */
  faulted: boolean
  /** The client could not decrypt it and has asked for it again. */
  retryAsked: boolean
  /** It waited and was delivered in the offline batch, which clients work off beside what comes live. */
  offline: boolean
  /** Already reported as missing its receipt. */
  reported: boolean
}

/** Per device; a real account is cut off long before. */
const MAX_MAIL = 20_000
const MAX_LOOKS = 16

/**
 * The offline queue of one linked device: a stanza stays until the device acknowledges it (a message by any receipt
 * but `retry`, or by an ack; the others by an ack), and is delivered again on the next connection.
 */
export class Mailbox {
  // bounded by: MAX_MAIL; add() refuses
  readonly #mail = new Map<string, Mail[]>()
  #count = 0
  #nextSeq = 1

  get count(): number {
    return this.#count
  }

  get full(): boolean {
    return this.#count >= MAX_MAIL
  }

  /** Undefined when it is full. */
  add(kind: MailKind, node: Stanza, queuedAt: number): Mail | undefined {
    if (this.full) return undefined
    const mail: Mail = {
      kind,
      seq: this.#nextSeq++,
      node,
      queuedAt,
      attempts: 0,
      deliveredOn: undefined,
      faulted: false,
      retryAsked: false,
      offline: false,
      reported: false,
    }
    const key = mailKey(kind, node.attrs['id'] ?? '')
    const same = this.#mail.get(key)
    if (same === undefined) this.#mail.set(key, [mail])
    else same.push(mail)
    this.#count += 1
    return mail
  }

  /**
   * Takes out what the device acknowledged. Receipts of one message differ by sender and type, so the entry whose
   * attributes fit `ack` best goes first.
   */
  settle(kind: MailKind, id: string, ack: Readonly<Record<string, string>>): Mail | undefined {
    const key = mailKey(kind, id)
    const same = this.#mail.get(key)
    if (same === undefined) return undefined
    let best = 0
    let bestFit = -1
    for (const [index, mail] of same.entries()) {
      if (mail.attempts === 0) continue
      const fit = fitOf(mail.node.attrs, ack)
      if (fit > bestFit) [best, bestFit] = [index, fit]
    }
    if (bestFit < 0) return undefined
    const [settled] = same.splice(best, 1)
    if (same.length === 0) this.#mail.delete(key)
    this.#count -= 1
    return settled
  }

  /** Removes one entry without any acknowledgement. */
  remove(mail: Mail): void {
    const key = mailKey(mail.kind, mail.node.attrs['id'] ?? '')
    const same = this.#mail.get(key)
    const index = same?.indexOf(mail) ?? -1
    if (same === undefined || index < 0) return
    same.splice(index, 1)
    if (same.length === 0) this.#mail.delete(key)
    this.#count -= 1
  }

  has(mail: Mail): boolean {
    return this.#mail.get(mailKey(mail.kind, mail.node.attrs['id'] ?? ''))?.includes(mail) ?? false
  }

  /** The entries of one message id. */
  find(kind: MailKind, id: string): readonly Mail[] {
    return this.#mail.get(mailKey(kind, id)) ?? []
  }

  /** In order of arrival. */
  pending(): Mail[] {
    return [...this.#mail.values()].flat().toSorted((a, b) => a.seq - b.seq)
  }

  /** The first entry of a kind in order of arrival, if it is among the first few of all; cheap, because a map keeps its order. */
  oldest(kind: MailKind): Mail | undefined {
    let looks = 0
    for (const [first] of this.#mail.values()) {
      if (first?.kind === kind) return first
      if (++looks > MAX_LOOKS) return undefined
    }
    return undefined
  }

  clear(): void {
    this.#mail.clear()
    this.#count = 0
  }
}

function mailKey(kind: MailKind, id: string): string {
  return `${kind} ${id}`
}

function fitOf(sent: Readonly<Record<string, string>>, ack: Readonly<Record<string, string>>): number {
  let fit = 0
  if (sent['from'] === ack['to']) fit += 4
  if (sent['type'] === ack['type']) fit += 2
  if (sent['participant'] === ack['participant']) fit += 1
  return fit
}
