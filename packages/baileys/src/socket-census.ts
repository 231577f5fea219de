/** A socket that has ended is garbage after this, if nobody holds it. */
const COLLECTED_AFTER_MS = 90_000

export interface SocketCensus {
  readonly made: number
  readonly ended: number
  /** Ended, and still in memory now. */
  readonly waiting: number
  /** `sockets_not_collected`: ended more than 90 s ago and still in memory. More than a few are a leak. */
  readonly notCollected: number
}

interface Entry {
  endedAt: number | undefined
}

// bounded by: sockets in memory; one leaves when its socket is collected
const entries = new Set<Entry>()
let made = 0
let ended = 0

const registry = new FinalizationRegistry<Entry>((entry) => entries.delete(entry))

/** Counts `socket` until it is collected; call what is returned when it has ended. */
export function enrol(socket: object): () => void {
  const entry: Entry = { endedAt: undefined }
  entries.add(entry)
  made += 1
  registry.register(socket, entry)
  return () => {
    if (entry.endedAt !== undefined) return
    entry.endedAt = performance.now()
    ended += 1
  }
}

/** How many sockets this process has made, ended and not got rid of. */
export function countSockets(): SocketCensus {
  const now = performance.now()
  const gone = [...entries].filter(({ endedAt }) => endedAt !== undefined)
  const notCollected = gone.filter(({ endedAt }) => now - (endedAt ?? now) > COLLECTED_AFTER_MS).length
  return { made, ended, waiting: gone.length, notCollected }
}
