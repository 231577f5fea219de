import { type InboundMessage, wordsOf } from '@eclusa/kernel'
import { z } from 'zod'

const target = z.object({ waMessageId: z.string(), author: z.string() })

export const quotedShape = target.extend({ text: z.string().nullable() })

export const inboundContent = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('text'), text: z.string() }),
  z.object({
    kind: z.literal('media'),
    media: z.object({
      type: z.enum(['image', 'video', 'audio', 'voice', 'document', 'sticker']),
      mimeType: z.string().nullable(),
      fileName: z.string().nullable(),
      sizeBytes: z.number().nullable(),
      seconds: z.number().nullable(),
      directPath: z.string().nullable(),
      mediaKey: z.string().nullable(),
      encryptedSha256: z.string().nullable(),
      sha256: z.string().nullable(),
    }),
    text: z.string().nullable(),
  }),
  z.object({
    kind: z.literal('location'),
    latitude: z.number(),
    longitude: z.number(),
    name: z.string().nullable(),
    address: z.string().nullable(),
    live: z.boolean(),
    text: z.string().nullable(),
  }),
  z.object({
    kind: z.literal('contact'),
    cards: z.array(z.object({ name: z.string().nullable(), vcard: z.string().nullable() })).readonly(),
  }),
  z.object({
    kind: z.literal('answer'),
    of: z.enum(['buttons', 'list', 'template', 'flow']),
    choiceId: z.string(),
    text: z.string(),
  }),
  z.object({
    kind: z.literal('poll'),
    text: z.string(),
    options: z.array(z.string()).readonly(),
    maxChoices: z.number(),
  }),
  z.object({ kind: z.literal('poll_vote'), target, choices: z.array(z.string()).readonly().nullable() }),
  z.object({ kind: z.literal('reaction'), target, text: z.string() }),
  z.object({ kind: z.literal('edit'), target, text: z.string().nullable() }),
  z.object({ kind: z.literal('delete'), target }),
  z.object({ kind: z.literal('other'), name: z.string(), text: z.string().nullable() }),
])

/** An inbound message as the API shows it; docs/inbound.md says what each field means. */
export const inboundShape = z
  .object({
    id: z.number(),
    chat: z.string(),
    from: z.string(),
    kind: z.string(),
    text: z.string().nullable(),
    content: inboundContent,
    quoted: quotedShape.nullable(),
    mentions: z.array(z.string()).readonly(),
    pushName: z.string().nullable(),
    waMessageId: z.string(),
    sentAt: z.iso.datetime(),
    receivedAt: z.iso.datetime(),
  })
  .meta({ id: 'InboundMessage' })

/** A journalled message in that shape. */
export function shownInbound(entry: {
  readonly id: number
  readonly from: string
  readonly message: InboundMessage
  readonly receivedAt: number
}): z.infer<typeof inboundShape> {
  const { chat, content: said, quoted, mentions, pushName, waMessageId, sentAt } = entry.message
  return {
    id: entry.id,
    chat,
    from: entry.from,
    kind: said.kind,
    text: wordsOf(said),
    content: said,
    quoted,
    mentions,
    pushName,
    waMessageId,
    sentAt: new Date(sentAt).toISOString(),
    receivedAt: new Date(entry.receivedAt).toISOString(),
  }
}
