import { useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, lazy, type ReactNode, Suspense, useContext, useEffect } from 'react'
import { whenSignedOut } from '../api/client.ts'
import { followEvents } from '../api/live.ts'
import { sessionQuery } from '../api/queries.ts'
import type { Session } from '../api/types.ts'
import { ErrorNote } from '../parts/states.tsx'

const SignIn = lazy(async () => ({ default: (await import('./sign-in.tsx')).SignIn }))

const Context = createContext<Session | null>(null)

/** Who is signed in. */
export function useSession(): Session {
  const session = useContext(Context)
  if (session === null) throw new Error('useSession outside of Gate')
  return session
}

/** Whether they may use what needs `scope`. */
export function useMay(scope: string): boolean {
  return useSession().scopes.includes(scope)
}

/** Shows the app to who is signed in, and the way in to everybody else. */
export function Gate({ children }: { readonly children: ReactNode }): ReactNode {
  const client = useQueryClient()
  const { data, error, refetch } = useQuery(sessionQuery)
  const isIn = data !== undefined && data !== null
  useEffect(() => {
    whenSignedOut(() => {
      // What they saw goes with them.
      client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'session' })
      client.setQueryData(sessionQuery.queryKey, null)
    })
  }, [client])
  useEffect(() => (isIn ? followEvents(client) : undefined), [client, isIn])
  if (isIn) return <Context value={data}>{children}</Context>
  if (data === null) {
    return (
      <Suspense fallback={null}>
        <SignIn />
      </Suspense>
    )
  }
  if (error !== null) {
    return (
      <main className="sign-in">
        <ErrorNote error={error} retry={() => void refetch()} />
      </main>
    )
  }
  return null
}
