import { queryOptions } from '@tanstack/react-query'
import { get, part, query } from './client.ts'
import type { History, Instance, InstanceQueue, MemoryReport, QueueCounts, Session } from './types.ts'

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
