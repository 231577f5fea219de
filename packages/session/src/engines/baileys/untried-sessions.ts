import type { SignalKeyStoreWithTransaction } from '@eclusa/baileys'

/** What of libsignal's session record is looked at here; the rest is carried along. */
interface SessionRecord {
  readonly _sessions: Readonly<Record<string, SessionEntry>>
}

interface SessionEntry {
  readonly indexInfo: { readonly used: number }
}

/** Far below any real time, so that a session that was used stands out and the order of the others stays. */
const MARK = -1e15

/**
 * Runs a decryption so that only the session that opened the message changes.
 *
 * A record holds several sessions when both sides have begun one, and libsignal tries them in turn. Each try steps the
 * ratchet of its session *before* it checks the MAC, and the record is then stored with the sessions that did not fit
 * stepped too: the next message sent through one of those cannot be opened by its recipient. This happens whenever a
 * contact's message crosses a new session of ours, for instance after a restart.
 *
 * Must run inside a transaction; `address` is the record's key.
 */
export async function keepUntriedSessions<T>(
  transactions: SignalKeyStoreWithTransaction,
  address: string,
  decrypt: () => Promise<T>,
): Promise<T> {
  const before = await readRecord(transactions, address)
  if (before === undefined || Object.keys(before._sessions).length < 2) return decrypt()
  await writeRecord(transactions, address, {
    ...before,
    _sessions: mapSessions(before, (entry) => withUsed(entry, MARK + entry.indexInfo.used)),
  })
  const opened = await decrypt()
  const after = await readRecord(transactions, address)
  if (after !== undefined) {
    const untouched = (key: string, entry: SessionEntry): SessionEntry =>
      entry.indexInfo.used < 0 ? (before._sessions[key] ?? entry) : entry
    await writeRecord(transactions, address, {
      ...after,
      _sessions: mapSessions(after, (entry, key) => untouched(key, entry)),
    })
  }
  return opened
}

async function readRecord(
  transactions: SignalKeyStoreWithTransaction,
  address: string,
): Promise<SessionRecord | undefined> {
  const { [address]: record } = await transactions.get('session', [address])
  return record as unknown as SessionRecord | undefined
}

async function writeRecord(
  transactions: SignalKeyStoreWithTransaction,
  address: string,
  record: SessionRecord,
): Promise<void> {
  await transactions.set({ session: { [address]: record as unknown as Uint8Array } })
}

function mapSessions(
  record: SessionRecord,
  change: (entry: SessionEntry, key: string) => SessionEntry,
): Record<string, SessionEntry> {
  return Object.fromEntries(Object.entries(record._sessions).map(([key, entry]) => [key, change(entry, key)]))
}

function withUsed(entry: SessionEntry, used: number): SessionEntry {
  return { ...entry, indexInfo: { ...entry.indexInfo, used } }
}
