import { createHash } from 'node:crypto'
import { EclusaError } from '@eclusa/kernel'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { gatewayErrors } from '../errors.ts'
import { badField } from './problem.ts'

/** Of what people edit: the same for the same content, whoever asks. `"…"`, as the header wants it. */
export function etagOf(content: unknown): string {
  return `"${createHash('sha256').update(JSON.stringify(content)).digest('base64url').slice(0, 22)}"`
}

/** The header of requests that change what people edit. */
export const ifMatch = z.looseObject({
  'if-match': z
    .string()
    .max(100)
    .optional()
    .describe('The etag of what you read: 412 when it is not so any more'),
})

/** Of what grows by one with each change. */
export function versionEtagOf({ version }: { readonly version: number }): string {
  return `"${version}"`
}

/** The version in an `If-Match`; null: whatever it is. @throws GATEWAY_BAD_REQUEST */
export function versionOf(header: string | undefined): number | null {
  if (header === undefined || header === '*') return null
  const version = /^(?:W\/)?"(\d{1,15})"$/.exec(header)?.[1]
  if (version === undefined) throw badField('if-match', 'must be an etag of it')
  return Number(version)
}

/**
 * With `If-Match` a change is made only to what the caller has seen. `content` is what there is now.
 * @throws GATEWAY_CHANGED_MEANWHILE, GATEWAY_BAD_REQUEST
 */
export function assertUnchanged(request: FastifyRequest, content: unknown): void {
  const header = request.headers['if-match']
  if (header === undefined || header === '*') return
  const seen = /^(?:W\/)?("[\w-]{1,64}")$/.exec(header)?.[1]
  if (seen === undefined) throw badField('if-match', 'must be the etag of an answer')
  if (seen !== etagOf(content)) throw new EclusaError(gatewayErrors.CHANGED_MEANWHILE)
}
