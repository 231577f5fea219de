/** What a caller may do about an error: nothing, try again later, or log the instance in again first. */
export type Retry = 'never' | 'later' | 'after-login'

/** Whether the message in question reached WhatsApp: `unknown` is never retried under a new id. */
export type Delivered = 'no' | 'yes' | 'unknown'

/** One row of a package's error table; HTTP reply, event, log and docs all come from it. */
export interface ErrorKind {
  /** Stable, unique: `QUEUE_MESSAGE_EXPIRED`. */
  readonly code: string
  /** The HTTP status of the reply. */
  readonly status: number
  readonly retry: Retry
  readonly delivered: Delivered
  /** One sentence for people; the default `message` of the error. */
  readonly message: string
}

export interface ErrorOptions {
  /** A sentence more exact than the table's. Holds no message text and no phone number. */
  readonly message?: string
  /** Facts for machines; `field` names the offending input. Holds no message text and no phone number. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** The one error class of Eclusa. Foreign errors become one at the seam, with `cause` kept. */
export class EclusaError extends Error {
  override readonly name = 'EclusaError'
  readonly code: string
  readonly status: number
  readonly retry: Retry
  readonly delivered: Delivered
  readonly details: Readonly<Record<string, unknown>>

  constructor(kind: ErrorKind, options: ErrorOptions = {}) {
    super(options.message ?? kind.message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = kind.code
    this.status = kind.status
    this.retry = kind.retry
    this.delivered = kind.delivered
    this.details = options.details ?? {}
  }
}

/** Makes a package's error table: the codes get the package's prefix. */
export function defineErrors<const Table extends Record<string, Omit<ErrorKind, 'code'>>>(
  prefix: string,
  table: Table,
): { readonly [Name in keyof Table]: ErrorKind } {
  const kinds = Object.entries(table).map(([name, kind]) => [name, { ...kind, code: `${prefix}_${name}` }])
  return Object.freeze(Object.fromEntries(kinds)) as { readonly [Name in keyof Table]: ErrorKind }
}
