import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/*
 * Our own code with one mistake planted: a copy of the packages below the queue, patched, so that nothing in the
 * product is switchable. A test that does not catch them proves nothing.
 */

export interface Mutant {
  readonly name: string
  readonly file: string
  /** Must occur exactly once; when the code has moved on, the mutant moves with it. */
  readonly find: RegExp
  readonly replace: string
}

/** Each line of code that one of the promises hangs on, taken away. */
export const mutants = {
  ackBeforeCommit: {
    name: 'answers before the commit',
    file: 'packages/queue/src/outbound-store.ts',
    find: /if \(idempotency === null\) \{\n\s+await (this\.#database\.write\(unit[^\n]*\))\n/,
    replace: `if (idempotency === null) {
      setTimeout(() => void $1.catch(() => undefined), 20)
`,
  },
  synchronousNormal: {
    name: 'synchronous = normal',
    file: 'packages/storage/src/sqlite-thread.ts',
    find: /'synchronous = full'/,
    replace: `'synchronous = normal'`,
  },
  cursorAfterLast: {
    name: 'the next of a chat is the first after the last',
    file: 'packages/queue/src/outbound-store.ts',
    find: /(where instance = \? and chat = \? and \$\{IN_LINE\}) (order by priority, seq limit 1\)\n)/,
    replace:
      '$1 and seq > coalesce((select max(ended.seq) from "OutboundTombstone" as ended ' +
      'where ended.instance = "MessageQueueItem".instance and ended.chat = "MessageQueueItem".chat), 0) $2',
  },
  retryToTheBack: {
    name: 'a retry goes to the back of its chat',
    file: 'packages/queue/src/outbound-store.ts',
    find: /(where instance = \? and chat = \? and \$\{IN_LINE\} order by priority,) seq limit 1\)\n/,
    replace: '$1 attempts, seq limit 1)\n',
  },
  seqReused: {
    name: 'a seq is used again once the table is empty',
    file: 'packages/queue/src/outbound-store.ts',
    find: /async lastSeq\(\): Promise<number> \{\n/,
    replace: `async lastSeq(): Promise<number> {
    if (Math.random() >= 0) {
      const [greatest] = await this.#database.read('select max(seq) as seq from "MessageQueueItem"', [])
      return Number(greatest?.['seq'] ?? 0)
    }
`,
  },
  keyForgottenWithItsRow: {
    name: 'an Idempotency-Key is known only as long as its row',
    file: 'packages/queue/src/outbound-store.ts',
    find: /(\n\s+)(\.\.\.events\.map\(\(event\) => this\.#log\(event\)\),\n\s+last,\n)/,
    replace: `$1{ sql: 'delete from "IdempotencyKey" where seq = ?', params: [seq] },$1$2`,
  },
} as const satisfies Readonly<Record<string, Mutant>>

/** A mutant that a test of ours catches, run on the mutated code. */
export interface FenceMutant extends Mutant {
  readonly caughtBy: { readonly file: string; readonly test: string }
}

const ownership = (test: string): FenceMutant['caughtBy'] => ({
  file: 'packages/storage/test/ownership.test.ts',
  test,
})
const fence = (test: string): FenceMutant['caughtBy'] => ({ file: 'packages/queue/test/fence.test.ts', test })
const afterCrash = ownership(
  'a node that crashed takes its own back at once, and what it sent before is refused',
)
const takeOverWaits = ownership(
  'a take-over waits for a flush under way, so nothing comes between the check and the commit',
)
const cannotRenew = ownership(
  'an owner that cannot renew stops acting before others may begin, and takes it back when it can',
)

/** The lease, its epoch, and the fence in every flush, on a real PostgreSQL. */
export const fenceMutants: readonly FenceMutant[] = [
  {
    name: 'no flush looks at the lease',
    file: 'packages/storage/src/postgres-flush.ts',
    find: /if \(asked\.size === 0\) return \[\]/,
    replace: 'if (asked.size >= 0) return []',
    caughtBy: afterCrash,
  },
  {
    name: 'a flush looks at the lease FOR KEY SHARE',
    file: 'packages/storage/src/postgres-flush.ts',
    find: /for share of lease`/,
    replace: 'for key share of lease`',
    caughtBy: takeOverWaits,
  },
  {
    name: 'a flush looks at the lease without a lock',
    file: 'packages/storage/src/postgres-flush.ts',
    find: / for share of lease`/,
    replace: '`',
    caughtBy: takeOverWaits,
  },
  {
    name: 'a flush looks at the node and not at the epoch',
    file: 'packages/storage/src/postgres-flush.ts',
    find: /lease\.epoch from (.*\n.*) and lease\.epoch = asked\.epoch\n/,
    replace: 'asked.epoch from $1\n',
    caughtBy: afterCrash,
  },
  {
    name: 'a flush does not look whether the lease ran out',
    file: 'packages/storage/src/postgres-flush.ts',
    find: / and lease\."expiresAt" > clock_timestamp\(\) for share/,
    replace: ' for share',
    caughtBy: ownership('a lease that ran out allows no write, though nobody has taken it over'),
  },
  {
    name: 'a flush looks at the lease and commits all the same',
    file: 'packages/storage/src/postgres-flush.ts',
    find: /const isOurs = own === null \|\| ours\.has\(keyOf\(own\)\)/,
    replace: 'const isOurs = ours.size >= 0 || own === null',
    caughtBy: afterCrash,
  },
  {
    name: 'one lease that is ours lets the whole flush pass',
    file: 'packages/storage/src/postgres-flush.ts',
    find: /const isOurs = own === null \|\| ours\.has\(keyOf\(own\)\)/,
    replace: 'const isOurs = own === null || ours.size > 0',
    caughtBy: ownership('the units of a lost instance are refused, the others of the same flush are kept'),
  },
  {
    name: 'a take-over keeps the epoch',
    file: 'packages/storage/src/postgres-leases.ts',
    find: /epoch = lease\.epoch \+ 1/,
    replace: 'epoch = lease.epoch',
    caughtBy: afterCrash,
  },
  {
    name: 'a lease is taken while another holds it',
    file: 'packages/storage/src/postgres-leases.ts',
    find: /where lease\."expiresAt" <= clock_timestamp\(\) or lease\.node = excluded\.node/,
    replace: 'where true',
    caughtBy: ownership('one node owns an instance; another takes it when it is released, and not before'),
  },
  {
    name: 'a node that crashed waits for its own lease',
    file: 'packages/storage/src/postgres-leases.ts',
    find: / or lease\.node = excluded\.node/,
    replace: '',
    caughtBy: afterCrash,
  },
  {
    name: 'a lease of any epoch is renewed',
    file: 'packages/storage/src/postgres-leases.ts',
    find: / and lease\.epoch = held\.epoch( and lease\.node = \?\n\s+and lease\."expiresAt" >)/,
    replace: '$1',
    caughtBy: ownership(
      'a process that another of its node replaced renews nothing, and learns that it lost',
    ),
  },
  {
    name: 'a lease of any epoch is handed over',
    file: 'packages/storage/src/postgres-leases.ts',
    find: / and lease\.epoch = held\.epoch( and lease\.node = \?`)/,
    replace: '$1',
    caughtBy: ownership('a process that another of its node replaced hands nothing over when it stops'),
  },
  {
    name: 'an owner that cannot renew acts on',
    file: 'packages/storage/src/postgres-leases.ts',
    find: /return this\.#now\(\) - renewedAt >= LEASE_MS - MARGIN_MS/,
    replace: 'return renewedAt < 0',
    caughtBy: cannotRenew,
  },
  {
    name: 'an owner acts until the very end of its lease',
    file: 'packages/storage/src/postgres-leases.ts',
    find: /(return this\.#now\(\) - renewedAt >= LEASE_MS) - MARGIN_MS/,
    replace: '$1',
    caughtBy: cannotRenew,
  },
  {
    name: 'a lease counts from its answer',
    file: 'packages/storage/src/postgres-leases.ts',
    find: /(epoch: Number\(row\['epoch'\]\), renewedAt: )sentAt/,
    replace: '$1this.#now()',
    caughtBy: ownership('a lease counts from when it was asked for, however late the answer comes'),
  },
  {
    name: "a message's writes name no instance",
    file: 'packages/queue/src/outbound-store.ts',
    find: /return \{ instance, rows: /,
    replace: 'return { rows: ',
    caughtBy: fence('an owner that lost its instance while a message was on the wire ends nothing'),
  },
  {
    name: 'the start of a send names no instance',
    file: 'packages/queue/src/outbound-store.ts',
    find: /(params: \[now, toSqlTime\(now\), message\.seq\],\n\s+mustChange: 1,\n\s+\},\n\s+\],\n\s+)chatOf\(message\)/,
    replace: '$1{}',
    caughtBy: fence(
      'an owner that lost its instance while it typed does not send; its heir does, in order, under the same ids',
    ),
  },
  {
    name: 'what is put back names no instance',
    file: 'packages/queue/src/outbound-store.ts',
    find: /(toSqlTime\(this\.#clock\.now\(\)\), message\.seq\],\n\s+mustChange: 1,\n\s+\},\n\s+\],\n\s+)chatOf\(message\)(,\n\s+\)\n\s+\}\n\n\s+\/\*\*\n\s+\* WhatsApp has it)/,
    replace: '$1{}$2',
    caughtBy: fence('an owner that lost its instance neither puts a message back nor takes its receipt'),
  },
]

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const COPIED: readonly string[] = ['packages/kernel', 'packages/storage', 'packages/queue']

export interface MutatedCode {
  /** Where the copy of a file of the repository is. */
  path(file: string): string
  remove(): void
}

/** `copied`: packages, by folder. @throws when the place to patch is not there, or there twice */
export function plant(mutant: Mutant, copied: readonly string[] = COPIED): MutatedCode {
  const home = mkdtempSync(join(tmpdir(), 'eclusa-mutant-'))
  const modules = join(home, 'node_modules')
  mkdirSync(join(modules, '@eclusa'), { recursive: true })
  for (const folder of copied) {
    cpSync(join(root, folder), join(home, folder), { recursive: true })
    symlinkSync(join(home, folder), join(modules, '@eclusa', basename(folder)))
  }
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '@eclusa' && !name.startsWith('.'))
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  const file = join(home, mutant.file)
  const source = readFileSync(file, 'utf8')
  const places = source.match(new RegExp(mutant.find, 'g'))?.length ?? 0
  if (places !== 1) {
    rmSync(home, { recursive: true })
    throw new Error(`mutant "${mutant.name}": ${places} places in ${mutant.file} match, not one`)
  }
  writeFileSync(file, source.replace(mutant.find, mutant.replace))
  return {
    path: (name) => join(home, name),
    remove: () => rmSync(home, { recursive: true, force: true }),
  }
}
