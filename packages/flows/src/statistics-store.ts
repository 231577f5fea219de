import type { TenantId } from '@eclusa/kernel'
import type { Database, SqlValue } from '@eclusa/storage'
import type { OperatorId, SectorId } from './conversation.ts'

/** What happened in a sector, or with an operator, since a time. */
export interface Activity {
  /** Given to an operator from the line, or past it. */
  readonly assignedCount: number
  /** Of those that came from the line; null when none did. */
  readonly averageWaitMs: number | null
  readonly longestWaitMs: number | null
  readonly closedCount: number
}

const NONE: Activity = { assignedCount: 0, averageWaitMs: null, longestWaitMs: null, closedCount: 0 }

/** Figures out of the history of conversations. */
export class ConversationStatistics {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Of each sector and operator of a tenant in which anything happened since `since`, and conversations opened in all. */
  async since(
    tenant: TenantId,
    since: number,
  ): Promise<{
    readonly openedCount: number
    readonly sectors: ReadonlyMap<SectorId, Activity>
    readonly operators: ReadonlyMap<OperatorId, Activity>
  }> {
    const params = [tenant, since]
    const [[opened], sectors, operators] = await Promise.all([
      this.#database.read(
        `select count(*) as count from "ConversationEntry" where tenant = ? and kind = 'opened' and at >= ?`,
        params,
      ),
      this.#by('sector', params),
      this.#by('operator', params),
    ])
    return {
      openedCount: Number(opened?.['count']),
      sectors: sectors as ReadonlyMap<SectorId, Activity>,
      operators: operators as ReadonlyMap<OperatorId, Activity>,
    }
  }

  async #by(
    column: 'sector' | 'operator',
    params: readonly SqlValue[],
  ): Promise<ReadonlyMap<string, Activity>> {
    const [assigned, closed] = await Promise.all([
      this.#database.read(
        `select ${column} as owner, count(*) as count, sum(waited_ms) as waited, count(waited_ms) as waiters,
           max(waited_ms) as longest
         from "ConversationEntry" where tenant = ? and kind = 'assigned' and at >= ? and ${column} is not null
         group by ${column}`,
        params,
      ),
      this.#database.read(
        `select ${column} as owner, count(*) as count from "ConversationEntry"
         where tenant = ? and kind = 'closed' and at >= ? and ${column} is not null group by ${column}`,
        params,
      ),
    ])
    const byOwner = new Map<string, Activity>()
    for (const row of assigned) {
      const waiters = Number(row['waiters'])
      byOwner.set(String(row['owner']), {
        ...NONE,
        assignedCount: Number(row['count']),
        averageWaitMs: waiters === 0 ? null : Math.round(Number(row['waited']) / waiters),
        longestWaitMs: waiters === 0 ? null : Number(row['longest']),
      })
    }
    for (const row of closed) {
      const owner = String(row['owner'])
      byOwner.set(owner, { ...(byOwner.get(owner) ?? NONE), closedCount: Number(row['count']) })
    }
    return byOwner
  }
}
