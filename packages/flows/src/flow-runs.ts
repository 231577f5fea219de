import type { ContactId, InboundOrigin, InstanceId, TenantId } from '@eclusa/kernel'
import type { NewEvent, Statement } from '@eclusa/storage'
import type { FlowRun, FlowRunId } from './flow-run.ts'

/** What is committed together with a run's step: all of it, or nothing. */
export interface RunUnit {
  /** Counts as heard from now on. */
  readonly heard?: InboundOrigin
  readonly statements?: readonly Statement[]
  readonly events?: readonly NewEvent[]
  /** Not to be said again before `until`. */
  readonly once?: { readonly key: string; readonly until: number }
}

/** Where runs are kept: the database, or for a dry run the memory. */
export interface FlowRuns {
  /** The one that has not ended, if any. */
  liveOf(instance: InstanceId, contact: ContactId): Promise<FlowRun | undefined>
  get(id: FlowRunId): Promise<FlowRun | undefined>
  wasHeard(origin: InboundOrigin): Promise<boolean>
  /** Until when something is not to be said again; 0 when it may. */
  onceUntil(tenant: TenantId, contact: ContactId, key: string): Promise<number>
  /** @throws STORAGE_CONFLICT when the contact has a live run, or the message was heard */
  begin(run: FlowRun, unit: RunUnit): Promise<void>
  /** Takes `before` to `after`. @throws STORAGE_CONFLICT when it was moved, or the message heard, meanwhile */
  move(before: FlowRun, after: FlowRun, unit: RunUnit): Promise<void>
  /** A message is heard without a run. @throws STORAGE_CONFLICT when it was */
  heardAlone(origin: InboundOrigin, unit: Omit<RunUnit, 'heard'>): Promise<void>
  /** Waiting ones whose time is up, and those active since before `activeBefore`; the longest overdue first. */
  overdue(
    now: number,
    activeBefore: number,
    page: { readonly limit: number; readonly offset: number },
  ): Promise<readonly FlowRun[]>
  /** When the next of the waiting is due after `now`; null when none is. */
  nextDueAt(now: number): Promise<number | null>
}
