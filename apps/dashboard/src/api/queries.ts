import { queryOptions } from '@tanstack/react-query'
import { get, part, query } from './client.ts'
import type {
  Contact,
  Conversation,
  History,
  HistoryEntry,
  Instance,
  InstanceQueue,
  MemoryReport,
  Message,
  Operator,
  QueueCounts,
  Sector,
  Session,
  Why,
} from './types.ts'

// The first part of each key is what `staleAfter` names.

/** Queries that events keep fresh are read again this seldom all the same: a missed event heals. */
const SLOW_MS = 60_000
const OFTEN_MS = 5000

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async () => (await get<{ session: Session | null }>('/v1/session')).session,
  retry: false,
  staleTime: 300_000,
})

export const instancesQuery = queryOptions({
  queryKey: ['instances'],
  queryFn: async () => (await get<{ items: readonly Instance[] }>('/v1/instances')).items,
  refetchInterval: SLOW_MS,
})

export const instanceQuery = (id: string) =>
  queryOptions({
    queryKey: ['instances', id],
    queryFn: () => get<Instance>(`/v1/instances/${part(id)}`),
    refetchInterval: SLOW_MS,
  })

export const queueQuery = queryOptions({
  queryKey: ['queue'],
  queryFn: () =>
    get<{ total: QueueCounts; items: readonly (QueueCounts & { instance: string })[] }>('/v1/queue'),
  refetchInterval: 15_000,
})

export const instanceQueueQuery = (id: string) =>
  queryOptions({
    queryKey: ['queue', id],
    queryFn: () => get<InstanceQueue>(`/v1/instances/${part(id)}/queue`),
    refetchInterval: 15_000,
  })

export const memoryQuery = queryOptions({
  queryKey: ['memory'],
  queryFn: () => get<MemoryReport>('/v1/memory'),
  refetchInterval: OFTEN_MS,
})

export type HistorySpan = 'hour' | 'day'

export const historyQuery = (span: HistorySpan) =>
  queryOptions({
    queryKey: ['measurements', span],
    queryFn: () => get<History>(`/v1/measurements${query({ span })}`),
    refetchInterval: span === 'hour' ? 10_000 : SLOW_MS,
  })

export const conversationsQuery = (tenant: string, state: string, instance: string) =>
  queryOptions({
    queryKey: ['conversations', tenant, state, instance],
    queryFn: () =>
      get<{ items: readonly Conversation[]; next: number | null }>(
        `/v1/tenants/${part(tenant)}/conversations${query({ state, instance, limit: 200 })}`,
      ),
    enabled: tenant !== '',
    refetchInterval: SLOW_MS,
  })

export const conversationQuery = (id: string) =>
  queryOptions({
    queryKey: ['conversation', id],
    queryFn: () => get<Conversation>(`/v1/conversations/${part(id)}`),
  })

/** Entries kept of one conversation; the oldest go. */
const MAX_ENTRIES = 2000
/** The newest entries whose messages may still change their state. */
const UNSETTLED = 40
const PAGE = 100

/** What is new, and what may have changed, is read; the rest stays. */
export const threadQuery = (id: string) =>
  queryOptions({
    queryKey: ['history', id],
    queryFn: async ({ client, queryKey }) => {
      const before = client.getQueryData<readonly HistoryEntry[]>(queryKey) ?? []
      const settled = before.slice(0, Math.max(0, before.length - UNSETTLED))
      const entries = [...settled]
      let after = settled.at(-1)?.id ?? 0
      for (;;) {
        const { items, next } = await get<{ items: readonly HistoryEntry[]; next: number | null }>(
          `/v1/conversations/${part(id)}/history${query({ after, limit: PAGE })}`,
        )
        entries.push(...items)
        if (next === null || items.length === 0) break
        after = next
      }
      return entries.slice(-MAX_ENTRIES)
    },
    refetchInterval: SLOW_MS,
  })

export const contactQuery = (tenant: string, id: string) =>
  queryOptions({
    queryKey: ['contact', tenant, id],
    queryFn: () => get<Contact>(`/v1/tenants/${part(tenant)}/contacts/${part(id)}`),
    staleTime: SLOW_MS,
    retry: false,
  })

export const sectorsQuery = (tenant: string) =>
  queryOptions({
    queryKey: ['sectors', tenant],
    queryFn: async () =>
      (await get<{ items: readonly Sector[] }>(`/v1/tenants/${part(tenant)}/sectors`)).items,
    enabled: tenant !== '',
  })

export const operatorsQuery = (tenant: string) =>
  queryOptions({
    queryKey: ['sectors', tenant, 'operators'],
    queryFn: async () =>
      (await get<{ items: readonly Operator[] }>(`/v1/tenants/${part(tenant)}/operators`)).items,
    enabled: tenant !== '',
  })

export const messagesQuery = (filter: {
  readonly instance: string
  readonly state: string
  readonly limit: number
}) =>
  queryOptions({
    queryKey: ['messages', filter],
    queryFn: () => get<{ items: readonly Message[]; next: string | null }>(`/v1/messages${query(filter)}`),
    refetchInterval: 15_000,
  })

export const messageQuery = (id: string) =>
  queryOptions({
    queryKey: ['message', id],
    queryFn: () => get<Omit<Message, 'chat' | 'instance'>>(`/v1/messages/${part(id)}`),
    retry: false,
  })

export const whyQuery = (id: string) =>
  queryOptions({
    queryKey: ['message', id, 'why'],
    queryFn: () => get<Why>(`/v1/messages/${part(id)}/why`),
    refetchInterval: 5000,
    retry: false,
  })
