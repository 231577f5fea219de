/** Messages to groups under way at the same time in the whole process. */
const AT_ONCE = 2
/** Those of one socket that wait for their turn; more are refused. */
const MAX_WAITING = 100
/** A send that takes longer holds up others no more: each of its queries has ended by then. */
const MAX_HOLD_MS = 60_000

// bounded by: sockets, each of which lets one message wait here
const waiting: (() => void)[] = []
let underWay = 0

/**
 * The messages of one socket to groups. Baileys encrypts such a message for all devices of all members at once, in one
 * transaction that holds every session it touched: measured 9.3 kB a device, 28 MB for 1,000 members of three. So those
 * of a socket go one after another, as Baileys' own lock would have it, and at most two of the whole process at the same
 * time; sockets take turns.
 */
export class GroupSends {
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  /** Not sent yet, or under way. */
  get waiting(): number {
    return this.#waiting
  }

  /** @throws Error when 100 messages wait already; else what `send` throws */
  async run<Result>(send: () => Promise<Result>): Promise<Result> {
    if (this.#waiting >= MAX_WAITING)
      throw new Error(
        `${MAX_WAITING} messages to groups wait already on this connection; send this one later`,
      )
    this.#waiting += 1
    const sent = this.#last.then(() => withPlace(send)).finally(() => (this.#waiting -= 1))
    this.#last = sent.catch(() => {})
    return sent
  }
}

async function withPlace<Result>(send: () => Promise<Result>): Promise<Result> {
  if (underWay < AT_ONCE) underWay += 1
  else await new Promise<void>((resolve) => waiting.push(resolve))
  let isHeld = true
  const leave = (): void => {
    if (!isHeld) return
    isHeld = false
    const next = waiting.shift()
    if (next === undefined) underWay -= 1
    else next()
  }
  const timer = setTimeout(leave, MAX_HOLD_MS)
  timer.unref()
  try {
    return await send()
  } finally {
    clearTimeout(timer)
    leave()
  }
}

/** Whether a message to `jid` is encrypted for each of many devices. */
export function isFannedOut(jid: string): boolean {
  return jid.endsWith('@g.us') || jid.endsWith('@broadcast')
}
