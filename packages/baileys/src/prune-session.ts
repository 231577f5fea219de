/** What of libsignal's session record is looked at here; the rest is carried along. */
interface SessionRecord {
  readonly _sessions: Readonly<Record<string, SessionEntry>>
}

interface SessionEntry {
  readonly indexInfo: { readonly closed: number }
  readonly _chains: Readonly<Record<string, Chain>>
}

interface Chain {
  readonly chainKey: { readonly key?: unknown }
  readonly chainType: number
}

/** Signal's own limits are 5 chains and 40 sessions; 8 sessions opened 39 of 39 messages that came three turns late. */
const MAX_CLOSED_CHAINS = 5
const MAX_CLOSED_SESSIONS = 8
const OPEN = -1
const RECEIVING = 2

/**
 * A session record without what libsignal never deletes: it keeps a closed receiving chain for each turn of a
 * conversation, 105 bytes each for ever (106 kB and slow after 1,000 turns, 1.5 kB with this), and 40 closed sessions.
 * What is not of the known form comes back as it is.
 */
export function pruneSession(value: unknown): unknown {
  if (!isRecord(value)) return value
  const entries = Object.entries(value._sessions)
  const closedAt = entries
    .map(([, { indexInfo }]) => indexInfo.closed)
    .filter((closed) => closed !== OPEN)
    .toSorted((a, b) => b - a)
  const oldestKept = closedAt[MAX_CLOSED_SESSIONS - 1] ?? 0
  const sessions = entries
    .filter(([, { indexInfo }]) => indexInfo.closed === OPEN || indexInfo.closed >= oldestKept)
    .map(([key, entry]) => [key, pruneChains(entry)] as const)
  const isWhole =
    sessions.length === entries.length && sessions.every(([key, entry]) => entry === value._sessions[key])
  return isWhole ? value : { ...value, _sessions: Object.fromEntries(sessions) }
}

/** Chains stand in order of age; a closed one has lost its key and keeps only keys of messages jumped over. */
function pruneChains(entry: SessionEntry): SessionEntry {
  const chains = Object.entries(entry._chains)
  const closed = chains.filter(
    ([, { chainKey, chainType }]) => chainType === RECEIVING && chainKey.key === undefined,
  )
  if (closed.length <= MAX_CLOSED_CHAINS) return entry
  const dropped = new Set(closed.slice(0, closed.length - MAX_CLOSED_CHAINS).map(([key]) => key))
  return { ...entry, _chains: Object.fromEntries(chains.filter(([key]) => !dropped.has(key))) }
}

function isRecord(value: unknown): value is SessionRecord {
  return (
    typeof value === 'object' && value !== null && '_sessions' in value && typeof value._sessions === 'object'
  )
}
