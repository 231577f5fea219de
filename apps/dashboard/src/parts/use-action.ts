import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { useToasts } from './toasts.tsx'

/** Does something and reads again what it changed; failures are told at the bottom. */
export function useAction(): {
  readonly busy: boolean
  run(
    act: () => Promise<unknown>,
    options?: { readonly done?: string; readonly stale?: readonly string[] },
  ): Promise<boolean>
} {
  const client = useQueryClient()
  const toasts = useToasts()
  const [busy, setBusy] = useState(false)
  return {
    busy,
    async run(act, { done, stale = [] } = {}) {
      setBusy(true)
      try {
        await act()
        if (done !== undefined) toasts.good(done)
        await Promise.all(stale.map((name) => client.invalidateQueries({ queryKey: [name] })))
        return true
      } catch (error) {
        toasts.bad(error)
        return false
      } finally {
        setBusy(false)
      }
    },
  }
}
