import type { Conversation, ConversationEntry } from '@eclusa/flows'
import { makeMessageId } from '@eclusa/kernel'
import type { InboundJournal } from '@eclusa/session'
import type { Queue } from '@eclusa/queue'
import { z } from 'zod'
import { inboundShape, shownInbound } from './inbound-shape.ts'
import { iso } from './instants.ts'

/** One line of a history: what happened, with the message it is about. */
export const historyEntry = z
  .object({
    id: z.number(),
    kind: z.enum([
      'inbound',
      'outbound',
      'note',
      'opened',
      'waiting',
      'assigned',
      'transferred',
      'released',
      'closed',
      'reopened',
      'merged',
    ]),
    at: z.iso.datetime(),
    actor: z.string(),
    sector: z.string().nullable(),
    operator: z.string().nullable(),
    waitedMs: z.number().nullable(),
    text: z.string().nullable(),
    /** Of `inbound`: null once its content is not kept any more. */
    inbound: inboundShape.nullable(),
    outbound: z
      .object({ id: z.string(), state: z.string().nullable() })
      .nullable()
      .describe('Of `outbound`: state null once the queue has forgotten it, 72 h after its last change'),
  })
  .meta({ id: 'HistoryEntry' })

/**
 * Entries in the shape of the API, with what came in and what became of the answers. It is shorter than `entries` when
 * the messages reach `maxBytes`; the next page begins after its last.
 */
export async function shownHistory(
  conversation: Conversation,
  entries: readonly ConversationEntry[],
  ports: { readonly journal: InboundJournal; readonly queue: Queue; readonly maxBytes: number },
): Promise<z.input<typeof historyEntry>[]> {
  const { journal, queue, maxBytes } = ports
  const ids = entries.flatMap(({ journalId }) => (journalId === null ? [] : [journalId]))
  const inbound = new Map(
    (await journal.ofIds(conversation.instance, ids, maxBytes)).map((entry) => [entry.id, entry]),
  )
  // Read in the order of ids: what is missing after the last of them found no room.
  const lastRead = Math.max(0, ...inbound.keys())
  const cut = entries.findIndex(
    ({ journalId }) => inbound.size > 0 && journalId !== null && journalId > lastRead,
  )
  const shown: z.input<typeof historyEntry>[] = []
  for (const entry of cut > 0 ? entries.slice(0, cut) : entries) {
    const { id, kind, at, actor, sector, operator, waitedMs, text, journalId, messageSeq } = entry
    const message = journalId === null ? undefined : inbound.get(journalId)
    const queued = messageSeq === null ? null : makeMessageId(messageSeq)
    shown.push({
      id,
      kind,
      at: iso(at),
      actor,
      sector,
      operator,
      waitedMs,
      text,
      inbound: message === undefined ? null : shownInbound(message),
      outbound:
        queued === null ? null : { id: queued, state: (await queue.outbox.status(queued))?.state ?? null },
    })
  }
  return shown
}
