/** RFC 9457, as the gateway answers whatever goes wrong. */
export interface Problem {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly field: string | null
}

/** A call that failed; `code` is the gateway's, or NETWORK when nobody answered. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly code: string
  readonly field: string | null
  /** The rest of the answer, such as what a linter found. */
  readonly body: Readonly<Record<string, unknown>>

  constructor(problem: Problem, body: Readonly<Record<string, unknown>> = {}) {
    super(problem.detail)
    this.status = problem.status
    this.code = problem.code
    this.field = problem.field
    this.body = body
  }
}

/** The session ended, or never was: whoever shows the app shows the way in instead. */
type SignedOutListener = () => void
let onSignedOut: SignedOutListener = () => {}

export function whenSignedOut(listener: SignedOutListener): void {
  onSignedOut = listener
}

/** The guard that no page of another origin can set. */
const CSRF = { 'x-eclusa-request': '1' } as const

export async function call<T>(
  method: string,
  path: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<T> {
  const response = await request(
    method,
    path,
    {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...more,
    },
    body === undefined ? undefined : JSON.stringify(body),
  )
  if (response.status === 204) return undefined as T
  const text = await response.text()
  return (text === '' ? undefined : JSON.parse(text)) as T
}

export function get<T>(path: string): Promise<T> {
  return call<T>('GET', path)
}

/** The answer itself, for what is not JSON. */
export async function request(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: { ...CSRF, ...headers },
      ...(body === undefined ? {} : { body }),
    })
  } catch (cause) {
    throw new ApiError({ status: 0, code: 'NETWORK', detail: String(cause), field: null })
  }
  if (response.ok) return response
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem> & Record<string, unknown>
  const error = new ApiError(
    {
      status: response.status,
      code: problem.code ?? 'UNKNOWN',
      detail: problem.detail ?? `HTTP ${response.status}`,
      field: problem.field ?? null,
    },
    problem,
  )
  if (error.code === 'GATEWAY_UNAUTHORIZED') onSignedOut()
  throw error
}

/** One part of an address, whatever it holds. */
export function part(text: string): string {
  return encodeURIComponent(text)
}

/** `?a=1&b=2` of what is set. */
export function query(parts: Readonly<Record<string, string | number | boolean | null | undefined>>): string {
  const set = Object.entries(parts).filter(
    ([, value]) => value !== null && value !== undefined && value !== '',
  )
  return set.length === 0
    ? ''
    : `?${new URLSearchParams(set.map(([name, value]): [string, string] => [name, String(value)])).toString()}`
}
