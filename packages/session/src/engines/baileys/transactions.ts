import { AsyncLocalStorage } from 'node:async_hooks'
import type { SignalKeyStoreWithTransaction } from '@eclusa/baileys'
import type { SendTurn } from './send-turns.ts'

/**
 * Mends two things about Baileys' key transactions, which find their context through the async context:
 * - What a transaction left running after its end (the trusted-contact token of a chat, for one) still finds it, and
 *   writes into a context that has been committed: the write is lost. It now goes to the store.
 * - A send holds a lock in the account's name over all of it. `lockOf` may give another name, so that chats overlap.
 */
export function mendTransactions(keys: SignalKeyStoreWithTransaction, lockOf: (key: string) => string): void {
  const scope = new AsyncLocalStorage<{ over: boolean }>()
  const outside = AsyncLocalStorage.snapshot()
  const transaction = keys.transaction.bind(keys)
  const get = keys.get.bind(keys)
  const set = keys.set.bind(keys)
  const leftOver = (): boolean => scope.getStore()?.over === true

  keys.get = (type, ids) => (leftOver() ? outside(() => get(type, ids)) : get(type, ids))
  keys.set = (data) => (leftOver() ? outside(() => set(data)) : set(data))
  keys.transaction = (work, key) => {
    const begin = async (): ReturnType<typeof work> => {
      const mine = { over: false }
      try {
        return await scope.run(mine, () => transaction(work, lockOf(key)))
      } finally {
        mine.over = true
      }
    }
    if (scope.getStore()?.over === false) return transaction(work, key)
    return leftOver() ? outside(begin) : begin()
  }
}

/**
 * Lets a send wait for its turn at its last step before the frame is written: when it has read its trusted-contact
 * token. From there to the frame Baileys waits for nothing.
 */
export function leaveInTurn(keys: SignalKeyStoreWithTransaction, turnOf: () => SendTurn | undefined): void {
  const get = keys.get.bind(keys)
  keys.get = async (type, ids) => {
    const values = await get(type, ids)
    if (type === 'tctoken') await turnOf()?.come()
    return values
  }
}
