import {
  type ChatId,
  chatOfNumber,
  EclusaError,
  type InstanceId,
  parseChatId,
  parseInstanceId,
  parseTenantId,
  type TenantId,
} from '@eclusa/kernel'
import { MAX_TEXT_LENGTH } from '@eclusa/queue'
import type { FastifyRequest } from 'fastify'
import { parsePhoneNumberFromString } from 'libphonenumber-js/min'
import { z } from 'zod'
import { gatewayErrors } from '../errors.ts'
import type { Instance } from '../instances/instance-store.ts'
import type { Instances } from '../instances/instances.ts'
import { callerOf } from './auth.ts'
import { badField } from './problem.ts'

/** A text to send: 1 to 65,536 characters (UTF-16 code units, what a string's length is), not blank, encodable. */
export const textInput = z
  .string({ error: 'must be a text' })
  .superRefine((text, context) => {
    const fault = textFault(text)
    if (fault !== null) context.addIssue({ code: 'custom', message: fault })
  })
  .meta({ minLength: 1, maxLength: MAX_TEXT_LENGTH })

/** No body, or an empty one. */
export const noBody = z.strictObject({}).nullish()

/** An instance's id in the address; whatever has not the form of one is an unknown instance, not a bad request. */
export const instanceParams = z.object({ id: z.string().describe('Id of an instance: `ins_…`') })

/** @throws GATEWAY_INSTANCE_UNKNOWN also when it belongs to a tenant the key may not see */
export function instanceOf(
  request: FastifyRequest & { params: { id: string } },
  instances: Instances,
): Instance {
  return instanceNamed(request.params.id, request, instances)
}

/** @throws GATEWAY_INSTANCE_UNKNOWN also when it belongs to a tenant the key may not see */
export function instanceNamed(id: string, request: FastifyRequest, instances: Instances): Instance {
  return instances.get(instanceIdOf(id), callerOf(request))
}

/** Digits with the country code first. @throws GATEWAY_BAD_REQUEST naming `field` */
export function digitsOf(number: string, field: string): string {
  // Possible, not valid: number plans grow faster than any copy of them, and WhatsApp knows who exists.
  const isPossible =
    /^\+[1-9]\d{6,14}$/.test(number) && parsePhoneNumberFromString(number)?.isPossible() === true
  if (!isPossible)
    throw badField(field, 'must be a phone number with its country code, such as +5511999990000')
  return number.slice(1)
}

/** The chat behind a phone number (`+5511…`) or a WhatsApp id. @throws GATEWAY_BAD_REQUEST naming `field` */
export function chatOf(to: string, field: string): ChatId {
  if (!to.includes('@')) return chatOfNumber(digitsOf(to, field))
  try {
    return parseChatId(to, field)
  } catch (error) {
    if (error instanceof EclusaError)
      throw badField(field, 'must be a phone number such as +5511999990000, or a WhatsApp id')
    throw error
  }
}

export const tenantParams = z.object({
  tenant: z.string().describe('A tenant: 1 to 40 lower-case letters, digits, "-" or "_"'),
})

/** The tenant in the address, which the key must be allowed to act for. @throws GATEWAY_FORBIDDEN */
export function tenantOf(request: FastifyRequest & { params: { tenant: string } }): TenantId {
  const { reach } = callerOf(request)
  const { tenant } = request.params
  if (reach !== '*' && reach !== tenant) {
    throw new EclusaError(gatewayErrors.FORBIDDEN, { details: { field: 'tenant' } })
  }
  return tenantIdOf(tenant, 'tenant')
}

/** @throws GATEWAY_BAD_REQUEST naming `field` */
export function tenantIdOf(text: string, field: string): TenantId {
  try {
    return parseTenantId(text)
  } catch (error) {
    if (error instanceof EclusaError) throw badField(field, error.message.replace(/^tenant /, ''))
    throw error
  }
}

/** An instant as ISO 8601 with its zone. */
export const instantInput = z.iso
  .datetime({ offset: true, error: 'must be a time such as 2026-11-24T18:00:00Z' })
  .transform((text) => Date.parse(text))

function instanceIdOf(text: string): InstanceId {
  try {
    return parseInstanceId(text)
  } catch (cause) {
    throw new EclusaError(gatewayErrors.INSTANCE_UNKNOWN, { details: { field: 'instance' }, cause })
  }
}

function textFault(text: string): string | null {
  if (text.trim() === '') return 'must not be empty'
  // Half of a surrogate pair has no UTF-8 form: what arrived would not be what was sent.
  if (!text.isWellFormed()) return 'must be well-formed Unicode'
  if (text.length > MAX_TEXT_LENGTH) return `must have at most ${MAX_TEXT_LENGTH} characters`
  return null
}
