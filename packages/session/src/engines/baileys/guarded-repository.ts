import { AsyncLocalStorage } from 'node:async_hooks'
import {
  isHostedPnUser,
  isPnUser,
  type SignalKeyStoreWithTransaction,
  type SignalRepositoryWithLIDStore,
} from '@eclusa/baileys'
import type { Statement } from '@eclusa/storage'
import { KeyedLock } from './keyed-lock.ts'
import type { SignalKeys } from './signal-keys.ts'
import { keepUntriedSessions } from './untried-sessions.ts'

/**
 * One lock per Signal address for the whole process. libsignal queues its work per address across all sockets and
 * runs queued work in the async context of whoever came first, so a key written there lands in a transaction that has
 * already committed and is lost. With the lock its queue is always empty when we call, and the question does not arise.
 */
const addressLock = new KeyedLock()

export interface GuardOptions {
  /** The instance: two of them in one group hold different sender keys and need not wait for each other. */
  readonly scope: string
  readonly repository: SignalRepositoryWithLIDStore
  /** The store with Baileys' transactions around it. */
  readonly transactions: SignalKeyStoreWithTransaction
  /** The store itself. */
  readonly keys: SignalKeys
  /** Sees each decrypted message before Baileys does. */
  readonly journal: (ciphertext: Uint8Array, plaintext: Uint8Array) => Promise<Opened>
  /** Asked for each message to one address, in the context of its send: what to call when its key is made. */
  readonly onEncrypt: (jid: string) => (() => void) | undefined
}

/** What becomes of a decrypted message. */
export interface Opened {
  /** To be committed together with the session that opened it. */
  readonly statements: readonly Statement[]
  /** What Baileys gets to see. */
  readonly plaintext: Uint8Array
  /** Called when all of it is on disk. */
  readonly onWritten?: () => void
}

type Together = (statements: readonly Statement[]) => void

/**
 * Baileys' Signal repository with these promises added:
 * - a ratchet step is on disk before its ciphertext leaves or its plaintext is seen (Baileys writes the frame inside
 *   the transaction and commits afterwards: a crash between the two would use a message key twice);
 * - a decrypted message is journalled in the same commit as the session that opened it;
 * - steps of one address never overlap, whether they send or receive, and a message changes only the session that opened
 *   it.
 */
export function guardRepository(options: GuardOptions): SignalRepositoryWithLIDStore {
  const { repository, transactions, keys, journal, scope, onEncrypt } = options
  // Outside of any transaction of the caller: each step below commits its own.
  const outside = AsyncLocalStorage.snapshot()

  /** Sessions are kept under the LID; both names of a person must share a lock. */
  const canonical = async (jid: string): Promise<string> => {
    if (!isPnUser(jid) && !isHostedPnUser(jid)) return jid
    return (await repository.lidMapping.getLIDForPN(jid)) ?? jid
  }

  /** One step at a time; its keys are on disk when it resolves, and the next step need not wait for that. */
  const locked = async <T>(key: string, step: (together: Together) => Promise<T>): Promise<T> => {
    const { result, written } = await addressLock.run(key, () => keys.inUnit(step))
    await written
    return result
  }

  const atAddress = <T>(jid: string, step: (jid: string, together: Together) => Promise<T>): Promise<T> =>
    outside(async () => {
      const address = await canonical(jid)
      return locked(repository.jidToSignalProtocolAddress(address), (together) => step(address, together))
    })

  const inGroup = <T>(group: string, step: (together: Together) => Promise<T>): Promise<T> =>
    outside(() => locked(`${scope} ${group}`, step))

  const journalled = (
    transactionKey: string,
    ciphertext: Uint8Array,
    together: Together,
    decrypt: () => Promise<Uint8Array>,
  ): Promise<Opened> =>
    transactions.transaction(async () => {
      const opened = await journal(ciphertext, await decrypt())
      together(opened.statements)
      return opened
    }, transactionKey)

  const seen = async (opening: Promise<Opened>): Promise<Buffer> => {
    const { plaintext, onWritten } = await opening
    onWritten?.()
    return Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength)
  }

  return {
    ...repository,
    encryptMessage: (args) => {
      const encrypting = onEncrypt(args.jid)
      return atAddress(args.jid, (jid) => {
        encrypting?.()
        return repository.encryptMessage({ ...args, jid })
      })
    },
    decryptMessage: (args) =>
      seen(
        atAddress(args.jid, (jid, together) =>
          journalled(jid, args.ciphertext, together, () => {
            const decrypt = (): Promise<Uint8Array> => repository.decryptMessage({ ...args, jid })
            // A pkmsg names its session; a msg is tried on each.
            if (args.type === 'pkmsg') return decrypt()
            return keepUntriedSessions(transactions, repository.jidToSignalProtocolAddress(jid), decrypt)
          }),
        ),
      ),
    // Asked for every device of every send; the full answer means to rebuild the record from its JSON.
    validateSession: (jid) =>
      outside(async () => {
        const address = repository.jidToSignalProtocolAddress(await canonical(jid))
        return (await keys.hasOpenSession(address)) ? { exists: true } : repository.validateSession(jid)
      }),
    injectE2ESession: (args) => atAddress(args.jid, (jid) => repository.injectE2ESession({ ...args, jid })),
    migrateSession: (fromJid, toJid) => atAddress(toJid, () => repository.migrateSession(fromJid, toJid)),
    deleteSession: (jids) => outside(() => repository.deleteSession(jids)),
    encryptGroupMessage: (args) => inGroup(args.group, () => repository.encryptGroupMessage(args)),
    decryptGroupMessage: (args) =>
      seen(
        inGroup(args.group, (together) =>
          journalled(args.group, args.msg, together, () => repository.decryptGroupMessage(args)),
        ),
      ),
    processSenderKeyDistributionMessage: (args) =>
      inGroup(args.item.groupId ?? '', () => repository.processSenderKeyDistributionMessage(args)),
    getSenderKeyDistributionMessage: (args) =>
      inGroup(args.group, () => repository.getSenderKeyDistributionMessage(args)),
  }
}
