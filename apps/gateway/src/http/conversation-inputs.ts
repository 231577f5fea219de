import {
  type Actor,
  type Conversation,
  conversationErrors,
  type Conversations,
  type Operator,
  parseConversationId,
  parseOperatorId,
  parseSectorId,
  parseSkill,
} from '@eclusa/flows'
import { EclusaError, type TenantId } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { maySee } from '../keys/scopes.ts'
import { callerOf } from './auth.ts'

/** Longest note or comment. */
const MAX_WORDS = 4096

/** A text that goes into a field of its own form. @throws what `parse` throws, as a fault of the field */
const parsed = <T>(parse: (text: string) => T) =>
  z.string('must be a text').transform((text, context): T => {
    try {
      return parse(text)
    } catch (error) {
      const message =
        error instanceof EclusaError ? error.message.replace(/^\S+ /, '') : 'is not of the right form'
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    }
  })

export const operatorInput = parsed((text) => parseOperatorId(text))
export const sectorInput = parsed((text) => parseSectorId(text))
export const skillInput = parsed((text) => parseSkill(text))

/** Words of a person, well-formed and not blank. */
export const wordsInput = z
  .string('must be a text')
  .max(MAX_WORDS, `must have at most ${MAX_WORDS} characters`)
  .refine((text) => text.trim() !== '', 'must not be empty')
  .refine((text) => text.isWellFormed(), 'must be well-formed Unicode')

export const nameInput = z
  .string('must be a text')
  .max(100, 'must have at most 100 characters')
  .refine((text) => text.trim() !== '', 'must not be empty')
  .refine((text) => text.isWellFormed(), 'must be well-formed Unicode')

/** Who does it, when it is an operator, and what they say about it. */
export const byInput = {
  by: operatorInput.optional(),
  comment: wordsInput.optional(),
}

export const cursorInput = z.coerce
  .number('must be a whole number')
  .int('must be a whole number')
  .min(0, 'must not be negative')

export const limitInput = (most: number, usual: number) =>
  z.coerce
    .number('must be a whole number')
    .int('must be a whole number')
    .min(1, `must be 1 to ${most}`)
    .max(most, `must be 1 to ${most}`)
    .default(usual)

/** A conversation in the address. @throws CONVERSATION_NOT_FOUND also when the key may not see its tenant */
export async function conversationOf(
  request: FastifyRequest & { params: { id: string } },
  conversations: Conversations,
): Promise<Conversation> {
  const found = await conversations.find(known(() => parseConversationId(request.params.id), 'NOT_FOUND'))
  if (found === undefined || !maySee(callerOf(request), found)) {
    throw new EclusaError(conversationErrors.NOT_FOUND)
  }
  return found
}

/** An operator of the tenant. @throws CONVERSATION_OPERATOR_UNKNOWN naming `field` */
export async function operatorOf(
  tenant: TenantId,
  id: string,
  conversations: Conversations,
  field: string,
): Promise<Operator> {
  const parsedId = known(() => parseOperatorId(id), 'OPERATOR_UNKNOWN')
  const operator = await conversations.operators.get(tenant, parsedId)
  if (operator === undefined) {
    throw new EclusaError(conversationErrors.OPERATOR_UNKNOWN, { details: { field } })
  }
  return operator
}

/** `by` and `comment` of a body, checked. @throws CONVERSATION_OPERATOR_UNKNOWN naming `by` */
export async function actorOf(
  tenant: TenantId,
  body: { readonly by?: string | undefined; readonly comment?: string | undefined },
  conversations: Conversations,
): Promise<{ readonly by: Actor; readonly comment: string | null }> {
  const comment = body.comment ?? null
  if (body.by === undefined) return { by: 'api', comment }
  return { by: (await operatorOf(tenant, body.by, conversations, 'by')).id, comment }
}

/** Whatever has not the form of an id names nothing that exists. */
export function known<T>(parse: () => T, otherwise: keyof typeof conversationErrors): T {
  try {
    return parse()
  } catch (cause) {
    throw new EclusaError(conversationErrors[otherwise], { cause })
  }
}
