import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { DatabaseSync } from 'node:sqlite'
import {
  type ChatId,
  EclusaError,
  type InstanceId,
  makeInstanceId,
  parseTenantId,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { EventLog, openDatabase, openSealer } from '@eclusa/storage'
import { defaultPacing, openQueue, type Queue, queueMigrations } from '@eclusa/queue'
import pg from 'pg'

/*
 * Every queue behind the same three calls. The rivals are not dependencies of ours: they are loaded from this folder's
 * own node_modules, and only the methods used here are declared.
 */

export type Handler = (chat: number, n: number) => Promise<void>

export interface Engine {
  /** On disk when it resolves. */
  enqueue(chat: number, n: number, payload: string): Promise<void>
  /** Messages `from` to `to` - 1 of a chat in the engine's own bulk form, in order. */
  fill(chat: number, from: number, to: number, payload: string): Promise<void>
  /** Begins to run the handler for what waits, each chat in order if the engine can. */
  drain(handler: Handler): Promise<void>
}

const load = createRequire(new URL('./package.json', import.meta.url))
/** Handlers at once, for engines that want a number. */
const CONCURRENCY = 100
const MAX_RETRIES = 5

interface Job {
  readonly chat: number
  readonly n: number
  readonly payload: string
}

export const engines = {
  'eclusa sqlite': (file) => eclusa({ file }),
  'eclusa postgres': (url) => eclusa({ url }),
  'raw sqlite': rawSqlite,
  'raw postgres': rawPostgres,
  bullmq,
  groupmq,
  'pg-boss': pgBoss,
  'graphile-worker': (url) => graphile(url, false),
  'graphile-worker localQueue': (url) => graphile(url, true),
} as const satisfies Readonly<Record<string, (place: string) => Promise<Engine>>>

export type EngineName = keyof typeof engines

/** Ours, as the gateway opens it; pacing off, 100 chats per instance. */
async function eclusa(place: { readonly file: string } | { readonly url: string }): Promise<Engine> {
  const tenant = parseTenantId('bench')
  const database = await openDatabase({ ...place, migrations: queueMigrations, log: silentLogger })
  const text = createHash('sha256').update('the same at every start').digest('base64')
  const sealer = await openSealer({ database, clock: systemClock, master: { text, from: 'the bench' } })
  await sealer.prepare(tenant)
  let handler: Handler = () => Promise.resolve()
  const queue: Queue = await openQueue({
    database,
    sealer,
    eventLog: new EventLog({ database, sealer, clock: systemClock }),
    clock: systemClock,
    log: silentLogger,
    emitter: new TypedEmitter(),
    sender: {
      async send({ chat, content }) {
        const [n] = content.text.split(' ', 1)
        try {
          await handler(Number(chat.slice(0, chat.indexOf('@'))), Number(n))
        } catch (cause) {
          const kind = { code: 'SESSION_REFUSED', status: 503, retry: 'later', delivered: 'no' } as const
          throw new EclusaError({ ...kind, message: 'a first try that fails' }, { cause })
        }
        return { ackedAt: Date.now() }
      },
      markRead: () => Promise.resolve(),
      setPresence: () => Promise.resolve(),
    },
    context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
    pacing: { ...defaultPacing, enabled: false },
  })
  // Known to the process that resumes as well.
  const known = await database.read('select distinct instance from "MessageQueueItem" order by instance', [])
  const instances = known.map((row) => row['instance'] as InstanceId)
  const instanceOf = (chat: number): InstanceId => (instances[Math.floor(chat / 100)] ??= makeInstanceId())
  const enqueue = async (chat: number, n: number, payload: string): Promise<void> => {
    await queue.outbox.enqueue({
      tenant,
      instance: instanceOf(chat),
      chat: `${chat}@s.whatsapp.net` as ChatId,
      content: { kind: 'text', text: `${n} ${payload}` },
      maxRetries: MAX_RETRIES,
    })
  }
  return {
    enqueue,
    fill: (chat, from, to, payload) => inOrder(from, to, (n) => enqueue(chat, n, payload)),
    async drain(run) {
      handler = run
      await queue.start()
      for (const instance of instances) queue.dispatcher.instanceOnline(instance)
    },
  }
}

/**
 * The limit: groups of what waits in one commit, one table and its index, nothing of what makes a queue. It drains a
 * message of every chat at a time: marks all, runs all, deletes all.
 */
function rawSqlite(file: string): Promise<Engine> {
  const database = new DatabaseSync(file)
  for (const sql of [
    'pragma journal_mode = wal',
    'pragma synchronous = full',
    'pragma wal_autocheckpoint = 4000',
  ])
    database.exec(sql)
  database.exec(
    `create table q (seq integer primary key autoincrement, chat integer, n integer, status text, payload text);
     create index q_chat on q (chat, seq)`,
  )
  const insert = database.prepare(`insert into q (chat, n, status, payload) values (?, ?, 'PENDING', ?)`)
  const update = database.prepare(`update q set status = 'PROCESSING' where seq = ?`)
  const remove = database.prepare('delete from q where seq = ?')
  const group = grouped<Job>((jobs) => {
    database.exec('begin immediate')
    for (const { chat, n, payload } of jobs) insert.run(chat, n, payload)
    database.exec('commit')
    return Promise.resolve()
  })
  return Promise.resolve({
    enqueue: (chat, n, payload) => group({ chat, n, payload }),
    fill: (chat, from, to, payload) => inOrder(from, to, (n) => group({ chat, n, payload })),
    drain: (handler) => {
      const heads = database.prepare('select min(seq) as seq, chat, n from q group by chat')
      void (async () => {
        for (;;) {
          const rows = heads.all() as unknown as { seq: number; chat: number; n: number }[]
          if (rows.length === 0) return
          database.exec('begin immediate')
          for (const { seq } of rows) update.run(seq)
          database.exec('commit')
          await Promise.all(rows.map(({ chat, n }) => handler(chat, n)))
          database.exec('begin immediate')
          for (const { seq } of rows) remove.run(seq)
          database.exec('commit')
          await new Promise((resolve) => setImmediate(resolve))
        }
      })()
      return Promise.resolve()
    },
  })
}

async function rawPostgres(url: string): Promise<Engine> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(
    `create table q (seq bigint generated always as identity primary key, chat int, n int, status text, payload text);
     create index q_chat on q (chat, seq)`,
  )
  const group = grouped<Job>(async (jobs) => {
    await client.query({
      name: 'insert',
      text: `insert into q (chat, n, status, payload)
        select chat, n, 'PENDING', payload from unnest($1::int[], $2::int[], $3::text[]) as job (chat, n, payload)`,
      values: [jobs.map(({ chat }) => chat), jobs.map(({ n }) => n), jobs.map(({ payload }) => payload)],
    })
  })
  return {
    enqueue: (chat, n, payload) => group({ chat, n, payload }),
    fill: (chat, from, to, payload) => inOrder(from, to, (n) => group({ chat, n, payload })),
    drain: (handler) => {
      void (async () => {
        for (;;) {
          const { rows } = (await client.query(
            'select distinct on (chat) seq, chat, n from q order by chat, seq',
          )) as { rows: { seq: string; chat: number; n: number }[] }
          if (rows.length === 0) return
          const seqs = rows.map(({ seq }) => seq)
          await client.query(`update q set status = 'PROCESSING' where seq = any($1::bigint[])`, [seqs])
          await Promise.all(rows.map(({ chat, n }) => handler(chat, n)))
          await client.query('delete from q where seq = any($1::bigint[])', [seqs])
        }
      })()
      return Promise.resolve()
    },
  }
}

/** FIFO only with one job at a time; here with many, as it is used. */
function bullmq(port: string): Promise<Engine> {
  const { Queue, Worker } = load('bullmq') as {
    Queue: new (
      name: string,
      options: object,
    ) => {
      add(name: string, data: Job, options?: object): Promise<unknown>
      addBulk(jobs: readonly object[]): Promise<unknown>
    }
    Worker: new (
      name: string,
      run: (job: { data: Job }) => Promise<void>,
      options: object,
    ) => {
      on(event: string, run: () => void): void
    }
  }
  const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null }
  const options = { attempts: MAX_RETRIES, removeOnComplete: true, removeOnFail: true }
  const queue = new Queue('bench', { connection })
  return Promise.resolve({
    async enqueue(chat, n, payload) {
      await queue.add('send', { chat, n, payload }, options)
    },
    async fill(chat, from, to, payload) {
      const jobs = Array.from({ length: to - from }, (_, index) => ({ chat, n: from + index, payload }))
      await queue.addBulk(jobs.map((data) => ({ name: 'send', data, opts: options })))
    },
    drain(handler) {
      const worker = new Worker('bench', ({ data }) => handler(data.chat, data.n), {
        connection,
        concurrency: CONCURRENCY,
      })
      worker.on('error', () => undefined)
      return Promise.resolve()
    },
  })
}

function groupmq(port: string): Promise<Engine> {
  const { Queue, Worker } = load('groupmq') as {
    Queue: new (options: object) => { add(job: object): Promise<unknown> }
    Worker: new (options: object) => { run(): Promise<void> }
  }
  const Redis = (load('ioredis') as { default: new (port: number, options: object) => unknown }).default
  const redis = (): unknown => new Redis(Number(port), { maxRetriesPerRequest: null })
  const queue = new Queue({ redis: redis(), namespace: 'bench' })
  const enqueue = async (chat: number, n: number, payload: string): Promise<void> => {
    await queue.add({ groupId: `${chat}`, data: { chat, n, payload }, maxAttempts: MAX_RETRIES })
  }
  return Promise.resolve({
    enqueue,
    fill: (chat, from, to, payload) => inOrder(from, to, (n) => enqueue(chat, n, payload)),
    drain(handler) {
      const worker = new Worker({
        queue,
        concurrency: CONCURRENCY,
        handler: ({ data }: { data: Job }) => handler(data.chat, data.n),
      })
      void worker.run()
      return Promise.resolve()
    },
  })
}

/** `key_strict_fifo`, with a loop of `fetch(500)`: its own `work()` loop runs 76 messages a second with 1,000 keys. */
async function pgBoss(url: string): Promise<Engine> {
  const { PgBoss } = load('pg-boss') as {
    PgBoss: new (options: object) => {
      on(event: string, run: () => void): void
      start(): Promise<unknown>
      createQueue(name: string, options: object): Promise<void>
      send(name: string, data: object, options: object): Promise<unknown>
      fetch(name: string, options: object): Promise<{ id: string; data: Job }[] | null>
      deleteJob(name: string, ids: readonly string[]): Promise<unknown>
      fail(name: string, id: string): Promise<unknown>
    }
  }
  const boss = new PgBoss({ connectionString: url, max: 16 })
  boss.on('error', () => undefined)
  await boss.start()
  await boss.createQueue('bench', { policy: 'key_strict_fifo', retryLimit: MAX_RETRIES })
  const enqueue = async (chat: number, n: number, payload: string): Promise<void> => {
    await boss.send('bench', { chat, n, payload }, { singletonKey: `${chat}` })
  }
  return {
    enqueue,
    // Its bulk insert() gives the messages of one key a random order; so does calling at the same time.
    async fill(chat, from, to, payload) {
      for (let n = from; n < to; n++) await enqueue(chat, n, payload)
    },
    drain(handler) {
      void (async () => {
        for (;;) {
          const jobs = (await boss.fetch('bench', { batchSize: 500 })) ?? []
          const done: string[] = []
          await Promise.all(
            jobs.map(async ({ id, data }) => {
              try {
                await handler(data.chat, data.n)
                done.push(id)
              } catch {
                await boss.fail('bench', id)
              }
            }),
          )
          if (done.length > 0) await boss.deleteJob('bench', done)
          if (jobs.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
        }
      })()
      return Promise.resolve()
    },
  }
}

async function graphile(url: string, local: boolean): Promise<Engine> {
  const { run, makeWorkerUtils, Logger } = load('graphile-worker') as {
    run(options: object): Promise<unknown>
    makeWorkerUtils(options: object): Promise<{
      migrate(): Promise<void>
      addJob(task: string, data: object, spec: object): Promise<unknown>
      addJobs(specs: readonly object[]): Promise<unknown>
    }>
    Logger: new (factory: () => () => void) => unknown
  }
  const logger = new Logger(() => () => undefined)
  const pool = new pg.Pool({ connectionString: url, max: 16 })
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  await utils.migrate()
  return {
    async enqueue(chat, n, payload) {
      await utils.addJob('send', { chat, n, payload }, { queueName: `${chat}`, maxAttempts: MAX_RETRIES })
    },
    async fill(chat, from, to, payload) {
      await utils.addJobs(
        Array.from({ length: to - from }, (_, index) => ({
          identifier: 'send',
          payload: { chat, n: from + index, payload },
          queueName: `${chat}`,
          maxAttempts: MAX_RETRIES,
        })),
      )
    },
    async drain(handler) {
      await run({
        connectionString: url,
        maxPoolSize: 20,
        concurrency: local ? CONCURRENCY : 16,
        logger,
        noHandleSignals: true,
        ...(local ? { preset: { worker: { localQueue: { size: 500 } } } } : { pollInterval: 100 }),
        taskList: { send: ({ chat, n }: Job) => handler(chat, n) },
      })
    },
  }
}

async function inOrder(from: number, to: number, each: (n: number) => Promise<void>): Promise<void> {
  const all: Promise<void>[] = []
  for (let n = from; n < to; n++) all.push(each(n))
  await Promise.all(all)
}

/** Group commit in its plainest form: what came while a flush was under way goes with the next. */
function grouped<T>(flush: (items: readonly T[]) => Promise<void>): (item: T) => Promise<void> {
  let waiting: {
    readonly item: T
    readonly resolve: () => void
    readonly reject: (error: unknown) => void
  }[] = []
  let isBusy = false
  const go = async (): Promise<void> => {
    isBusy = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        await flush(batch.map(({ item }) => item))
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    isBusy = false
  }
  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      if (!isBusy) setImmediate(() => void (isBusy ? undefined : go()))
    })
}
