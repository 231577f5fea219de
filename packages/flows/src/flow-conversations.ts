import type { Conversations } from './conversations.ts'
import type { FlowConversations } from './flow-ports.ts'

/** Conversations whose last operator still counts are among the contact's last so many. */
const LOOK_BACK = 10

/** Conversations as flows see them. */
export function conversationsForFlows(conversations: Conversations): FlowConversations {
  const { plan, operators } = conversations
  return {
    get: ({ tenant, id }) => conversations.get(tenant, id),
    waitInLine: (ref, how) => plan.waitInLine(ref, { by: 'flow', ...how }),
    assign: (ref, operator) => plan.assign(ref, { by: 'flow', operator }),
    release: (ref, operator) => plan.release(ref, { by: 'flow', operator }),
    close: (ref, reason, servedBy) => plan.close(ref, { by: 'flow', reason, servedBy }),
    async lastOperatorOf({ tenant, contact, id }) {
      const page = { before: Number.MAX_SAFE_INTEGER, limit: LOOK_BACK }
      const { items } = await conversations.list(tenant, { contact }, page)
      const last = items.find((one) => one.id !== id && one.lastOperator !== null)
      if (last === undefined || last.lastOperator === null) return undefined
      return { operator: last.lastOperator, at: last.closedAt ?? last.assignedAt ?? last.openedAt }
    },
    async ownerOf({ tenant, contact }) {
      return (await conversations.ownerOf(tenant, contact)) ?? undefined
    },
    async admins(tenant) {
      const all = await operators.list(tenant)
      return all.filter(({ isAdmin }) => isAdmin).map(({ id }) => id)
    },
    async hasLine(tenant) {
      return (await conversations.sectors.list(tenant)).length > 0
    },
    mustWait: (tenant, line) => conversations.mustWait(tenant, line),
  }
}
