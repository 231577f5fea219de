import { EclusaError, type ErrorKind } from '@eclusa/kernel'
import { errorKindOf } from '../error-tables.ts'
import { gatewayErrors } from '../errors.ts'

/** RFC 9457, with our code, the offending field and the id under which the log has more. */
export interface Problem {
  /** `urn:eclusa:error:<code>`, described in docs/errors.md. */
  readonly type: string
  /** The same for every occurrence of `code`. */
  readonly title: string
  readonly status: number
  readonly code: string
  /** What is wrong this time, for people. */
  readonly detail: string
  /** Path of the offending input (`text`, `pacing.min`), a header's or parameter's name; null when none is to blame. */
  readonly field: string | null
  /** What the caller may do: `never` (do not repeat as it is), `later`, or `after-login` of the instance. */
  readonly retry: EclusaError['retry']
  readonly requestId: string
}

/** What Fastify throws, as far as we read it. */
interface FrameworkError {
  readonly code?: unknown
  readonly statusCode?: unknown
  readonly validation?: readonly {
    readonly keyword: string
    readonly instancePath: string
    readonly message?: string
    readonly params: Readonly<Record<string, unknown>>
  }[]
  readonly validationContext?: string
}

/** The error of ours that tells of any failure; what is not known becomes GATEWAY_INTERNAL with the `cause` kept. */
export function toEclusaError(error: unknown): EclusaError {
  if (error instanceof EclusaError) return error
  const foreign = (typeof error === 'object' && error !== null ? error : {}) as FrameworkError
  if (foreign.validation !== undefined) return badInput(foreign)
  switch (foreign.code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return refused(gatewayErrors.BROKEN_JSON, 'body', error)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return refused(gatewayErrors.UNSUPPORTED_MEDIA_TYPE, 'content-type', error)
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return refused(gatewayErrors.BODY_TOO_LARGE, 'body', error)
    default:
  }
  const isCallersFault =
    typeof foreign.statusCode === 'number' && foreign.statusCode >= 400 && foreign.statusCode < 500
  if (isCallersFault) return refused(gatewayErrors.BAD_REQUEST, null, error)
  return new EclusaError(gatewayErrors.INTERNAL, { cause: error })
}

/** What the caller is told: from the error tables and the error's own sentence, never from a foreign message. */
export function problemOf(error: EclusaError, requestId: string): Problem {
  const field = error.details['field']
  return {
    type: `urn:eclusa:error:${error.code}`,
    title: errorKindOf(error.code)?.message ?? error.message,
    status: error.status,
    code: error.code,
    detail: error.message,
    field: typeof field === 'string' ? field : null,
    retry: error.retry,
    requestId,
  }
}

/** A refusal of one input. @param rule reads on after the field's name: "must be …" */
export function badField(field: string, rule: string): EclusaError {
  return new EclusaError(gatewayErrors.BAD_REQUEST, { message: `${field} ${rule}`, details: { field } })
}

function refused(kind: ErrorKind, field: string | null, cause: unknown): EclusaError {
  return new EclusaError(kind, { details: { field }, cause })
}

function badInput(error: FrameworkError): EclusaError {
  const issue = error.validation?.[0]
  const where = error.validationContext ?? 'body'
  const path = (issue?.instancePath ?? '').split('/').filter((part) => part !== '')
  const unknown = issue?.keyword === 'unrecognized_keys' ? issue.params['keys'] : undefined
  if (Array.isArray(unknown)) {
    const field = [...path, String(unknown[0]).slice(0, 100)].join('.')
    return badField(field, `is not a field of this ${where === 'body' ? 'body' : 'request'}`)
  }
  if (path.length === 0) return badField(where, 'must be a JSON object')
  return badField(path.join('.'), issue?.message ?? 'is not of the right form')
}
