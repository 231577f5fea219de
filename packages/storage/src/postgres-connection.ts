import pg from 'pg'
import type { Row, SqlValue, Statement, StatementResult } from './database.ts'

/*
 * One connection to PostgreSQL, and all that is known of `pg` here. Statements travel as a pipeline: all of them in
 * one write, their answers in one read, so that a flush of hundreds costs one round trip.
 */

/** Statements kept prepared per connection. Everything hot in Eclusa is about 60 texts. */
export const MAX_PREPARED = 256
const CONNECT_TIMEOUT_MS = 5000

/** What the server answered instead of a result; its `code` is the SQLSTATE. */
export interface PostgresRefusal {
  readonly sqlState: string
  readonly message: string
  /** The server ended the connection with it. */
  readonly isFatal: boolean
}

export interface PipelineOutcome {
  /** One per statement, up to the one that was refused. */
  readonly results: readonly StatementResult[]
  /** The answer to the statement after `results`; the ones behind it were not run. */
  readonly refusal: PostgresRefusal | null
}

/** The connection is gone. What was under way may or may not have happened. */
export class ConnectionLost extends Error {}

/** A text the server refuses to prepare. */
export class StatementRefused extends Error {
  readonly refusal: PostgresRefusal

  constructor(refusal: PostgresRefusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}

export interface Prepared {
  readonly name: string
  /** OIDs of its parameters' types, as the server understood them. */
  readonly parameterTypes: readonly number[]
  readonly columns: readonly Column[]
}

interface Column {
  readonly name: string
  readonly decode: (text: string) => SqlValue
}

/** What of `pg`'s Connection we use; its methods write protocol messages. */
interface Wire {
  readonly stream: { cork(): void; uncork(): void; destroy(error?: Error): void }
  parse(message: { name: string; text: string }): void
  bind(message: { statement: string; values: readonly (string | Buffer | null)[] }): void
  describe(message: { type: 'S'; name: string }): void
  execute(message: null): void
  close(message: { type: 'S'; name: string }): void
  sync(): void
  on(event: 'parameterDescription', listener: (message: { dataTypeIDs: number[] }) => void): void
}

/** What `pg` calls on a query it was given; the names are its own. */
interface Submitted {
  submit(wire: Wire): void
  handleRowDescription(message: { fields: readonly { name: string; dataTypeID: number }[] }): void
  handleDataRow(message: { fields: readonly (string | null)[] }): void
  handleCommandComplete(message: { text: string }): void
  handleEmptyQuery(): void
  handlePortalSuspended(): void
  handleError(error: Error): void
  handleReadyForQuery(): void
}

export class PostgresConnection {
  readonly #client: pg.Client
  // bounded by: MAX_PREPARED and the texts of one pipeline, least recently used out
  readonly #prepared = new Map<string, Prepared>()
  // Names to forget with the next pipeline. bounded by: the texts of one pipeline
  #closing: string[] = []
  #nameCount = 0
  // bounded by: one statement
  #lastParameterTypes: readonly number[] = []
  #lost: ConnectionLost | null = null
  #onLost: (() => void) | null = null

  private constructor(client: pg.Client) {
    this.#client = client
    client.on('error', (error) => this.#lose(error))
    client.on('end', () => this.#lose(new Error('the connection ended')))
    this.#wire.on('parameterDescription', ({ dataTypeIDs }) => (this.#lastParameterTypes = dataTypeIDs))
  }

  /** @throws what `pg` throws when the server cannot be reached, refuses the login, or has no such database */
  static async open(options: {
    readonly url: string
    /** `pg_stat_activity` shows it. */
    readonly name: string
    /** Set for the session, before anything else. */
    readonly settings: Readonly<Record<string, string>>
  }): Promise<PostgresConnection> {
    const client = new pg.Client({
      connectionString: options.url,
      application_name: options.name,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    })
    // Before the connection's own listener: an error while connecting also rejects `connect`.
    client.on('error', () => undefined)
    await client.connect()
    const connection = new PostgresConnection(client)
    try {
      await connection.script(
        Object.entries(options.settings)
          .map(([key, value]) => `set ${key} = ${value}`)
          .join('; '),
      )
    } catch (error) {
      connection.destroy()
      throw error
    }
    return connection
  }

  get isLost(): boolean {
    return this.#lost !== null
  }

  /** The server's process behind this connection. */
  get processId(): number {
    return (this.#client as unknown as { readonly processID: number }).processID
  }

  /** Called once when the connection is gone, however that came. */
  onLost(listener: () => void): void {
    this.#onLost = listener
  }

  onNotification(listener: (payload: string) => void): void {
    this.#client.on('notification', ({ payload }) => listener(payload ?? ''))
  }

  /** Several statements without parameters, as the server splits them; the rows of the last are given back. */
  async script(sql: string): Promise<readonly Row[]> {
    if (this.#lost !== null) throw this.#lost
    try {
      const result = (await this.#client.query(sql)) as pg.QueryResult | pg.QueryResult[]
      const last = Array.isArray(result) ? result.at(-1) : result
      return (last?.rows ?? []) as Row[]
    } catch (error) {
      throw this.#translated(error)
    }
  }

  /**
   * Runs the statements one after the other until one is refused. Outside of `begin` they are one transaction.
   * @throws ConnectionLost, StatementRefused (before anything ran)
   */
  async pipeline(statements: readonly Statement[]): Promise<PipelineOutcome> {
    const steps: Step[] = []
    for (const { sql, params } of statements) {
      steps.push({ prepared: this.#known(sql) ?? (await this.#prepare(sql)), values: encode(params) })
    }
    const closing = this.#closing
    this.#closing = []
    try {
      return await this.#submit<PipelineOutcome>((settle) => new Pipeline(steps, closing, settle))
    } finally {
      this.#forgetOldest()
    }
  }

  /** Prepares a text if that was not done before; a pipeline does so by itself. */
  async prepare(sql: string): Promise<Prepared> {
    return this.#prepared.get(sql) ?? (await this.#prepare(sql))
  }

  /** What `prepare` gave before; undefined when it has not, or not lately. */
  prepared(sql: string): Prepared | undefined {
    return this.#prepared.get(sql)
  }

  /** Says goodbye to the server. */
  async end(): Promise<void> {
    this.#onLost = null
    if (this.#lost !== null) return
    this.#lost = new ConnectionLost('the connection was ended')
    await this.#client.end().catch(() => undefined)
  }

  /** Without a goodbye: for a connection that does not answer any more. */
  destroy(reason = 'the connection was given up'): void {
    this.#wire.stream.destroy()
    this.#lose(new Error(reason))
  }

  get #wire(): Wire {
    return (this.#client as unknown as { readonly connection: Wire }).connection
  }

  #known(sql: string): Prepared | undefined {
    const prepared = this.#prepared.get(sql)
    if (prepared === undefined) return undefined
    this.#prepared.delete(sql)
    this.#prepared.set(sql, prepared)
    return prepared
  }

  async #prepare(sql: string): Promise<Prepared> {
    const name = `s${++this.#nameCount}`
    const text = numbered(sql)
    const columns = await this.#submit<readonly Column[]>((settle) => new Preparation(name, text, settle))
    const prepared: Prepared = { name, columns, parameterTypes: this.#lastParameterTypes }
    this.#prepared.set(sql, prepared)
    return prepared
  }

  #forgetOldest(): void {
    for (const [sql, { name }] of this.#prepared) {
      if (this.#prepared.size <= MAX_PREPARED) return
      this.#prepared.delete(sql)
      this.#closing.push(name)
    }
  }

  async #submit<T>(make: (settle: Settle<T>) => Submitted): Promise<T> {
    if (this.#lost !== null) throw this.#lost
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#client.query(make({ resolve, reject }) as unknown as pg.Submittable)
      })
    } catch (error) {
      throw this.#translated(error)
    }
  }

  #translated(error: unknown): Error {
    if (error instanceof StatementRefused) return error
    const refusal = refusalOf(error)
    if (refusal !== null && !refusal.isFatal) return new StatementRefused(refusal)
    this.#lose(error)
    return this.#lost!
  }

  #lose(cause: unknown): void {
    if (this.#lost !== null) return
    this.#lost = new ConnectionLost(cause instanceof Error ? cause.message : String(cause), { cause })
    this.#prepared.clear()
    const onLost = this.#onLost
    this.#onLost = null
    onLost?.()
  }
}

interface Settle<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

interface Step {
  readonly prepared: Prepared
  readonly values: readonly (string | Buffer | null)[]
}

class Pipeline implements Submitted {
  // bounded by: the flush, or MAX_READS_PER_TRIP
  readonly #steps: readonly Step[]
  // bounded by: the texts of one pipeline
  readonly #closing: readonly string[]
  readonly #settle: Settle<PipelineOutcome>
  // bounded by: the steps
  readonly #results: StatementResult[] = []
  // Of the step that is being answered. bounded by: its caller's LIMIT
  #rows: Row[] = []

  constructor(steps: readonly Step[], closing: readonly string[], settle: Settle<PipelineOutcome>) {
    this.#steps = steps
    this.#closing = closing
    this.#settle = settle
  }

  submit(wire: Wire): void {
    // All messages in one write to the socket.
    wire.stream.cork()
    for (const name of this.#closing) wire.close({ type: 'S', name })
    for (const { prepared, values } of this.#steps) {
      wire.bind({ statement: prepared.name, values })
      wire.execute(null)
    }
    wire.sync()
    wire.stream.uncork()
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    const { columns } = this.#steps[this.#results.length]!.prepared
    const row: Record<string, SqlValue> = {}
    for (const [index, column] of columns.entries()) {
      const text = fields[index]!
      row[column.name] = text === null ? null : column.decode(text)
    }
    this.#rows.push(row)
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#results.push({ rows: this.#rows.length === 0 ? NO_ROWS : this.#rows, changes: changesOf(text) })
    if (this.#rows.length > 0) this.#rows = []
  }

  handleEmptyQuery(): void {
    this.#results.push({ rows: NO_ROWS, changes: 0 })
  }

  handleError(error: Error): void {
    const refusal = refusalOf(error)
    if (refusal === null || refusal.isFatal) this.#settle.reject(error)
    else this.#settle.resolve({ results: this.#results, refusal })
  }

  handleReadyForQuery(): void {
    this.#settle.resolve({ results: this.#results, refusal: null })
  }

  handleRowDescription(): void {}
  handlePortalSuspended(): void {}
}

class Preparation implements Submitted {
  readonly #name: string
  readonly #text: string
  readonly #settle: Settle<readonly Column[]>
  // bounded by: the statement
  #columns: readonly Column[] = []

  constructor(name: string, text: string, settle: Settle<readonly Column[]>) {
    this.#name = name
    this.#text = text
    this.#settle = settle
  }

  submit(wire: Wire): void {
    wire.stream.cork()
    wire.parse({ name: this.#name, text: this.#text })
    wire.describe({ type: 'S', name: this.#name })
    wire.sync()
    wire.stream.uncork()
  }

  handleRowDescription({
    fields,
  }: {
    readonly fields: readonly { name: string; dataTypeID: number }[]
  }): void {
    this.#columns = fields.map(({ name, dataTypeID }) => ({
      name,
      decode: DECODERS.get(dataTypeID) ?? asText,
    }))
  }

  handleError(error: Error): void {
    this.#settle.reject(error)
  }

  handleReadyForQuery(): void {
    this.#settle.resolve(this.#columns)
  }

  handleDataRow(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
}

const NO_ROWS: readonly Row[] = Object.freeze([])

/** `INSERT 0 3`, `UPDATE 3`, `DELETE 3`; what else there is changes no rows. */
function changesOf(tag: string): number {
  const match = /^(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)$/.exec(tag)
  return match === null ? 0 : Number(match[1])
}

/** An error of `pg` that came from the server as a message; everything else means that the connection is gone. */
function refusalOf(error: unknown): PostgresRefusal | null {
  if (!(error instanceof pg.DatabaseError) || error.code === undefined) return null
  const isFatal = error.severity === 'FATAL' || error.severity === 'PANIC'
  return { sqlState: error.code, message: error.message, isFatal }
}

/** `?` becomes `$1`, `$2` … outside of strings, quoted names and comments. */
function numbered(sql: string): string {
  let count = 0
  return sql.replaceAll(/'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\?/g, (part) =>
    part === '?' ? `$${++count}` : part,
  )
}

function encode(params: readonly SqlValue[]): readonly (string | Buffer | null)[] {
  return params.map((value) => {
    if (typeof value === 'string' || value === null) return value
    if (typeof value === 'number') return String(value)
    if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    // The types forbid it, a cast may not.
    throw new StatementRefused({
      sqlState: '22023',
      message: `a parameter is a ${typeof value}`,
      isFatal: false,
    })
  })
}

const asText = (text: string): SqlValue => text
const asNumber = (text: string): SqlValue => Number(text)
/** `2026-11-24 10:20:30.5+00`, in UTC, as the same column reads on SQLite: `2026-11-24 10:20:30.500`. */
const asTime = (text: string): SqlValue => {
  const [seconds = '', fraction = ''] = text.replace(/[+-]\d\d(:\d\d)?$/, '').split('.')
  return `${seconds}.${fraction.padEnd(3, '0')}`
}

/** By the OID of the type; the others are text. */
const DECODERS: ReadonlyMap<number, (text: string) => SqlValue> = new Map([
  [16, (text) => (text === 't' ? 1 : 0)], // boolean
  [17, (text) => new Uint8Array(Buffer.from(text.slice(2), 'hex'))], // bytea, as \x…
  [20, asNumber], // bigint
  [21, asNumber], // smallint
  [23, asNumber], // integer
  [26, asNumber], // oid
  [700, asNumber], // real
  [701, asNumber], // double precision
  [1114, asTime], // timestamp
  [1184, asTime], // timestamptz
  [1700, asNumber], // numeric
] as [number, (text: string) => SqlValue][])
