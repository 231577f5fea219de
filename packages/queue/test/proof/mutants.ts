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
import { join } from 'node:path'
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

const root = fileURLToPath(new URL('../../../../', import.meta.url))
const COPIED = ['kernel', 'storage', 'queue'] as const

export interface MutatedCode {
  /** Where the copy of a file of the repository is. */
  path(file: string): string
  remove(): void
}

/** @throws when the place to patch is not there, or there twice */
export function plant(mutant: Mutant): MutatedCode {
  const home = mkdtempSync(join(tmpdir(), 'eclusa-mutant-'))
  for (const name of COPIED)
    cpSync(join(root, 'packages', name), join(home, 'packages', name), { recursive: true })
  const modules = join(home, 'node_modules')
  mkdirSync(join(modules, '@eclusa'), { recursive: true })
  for (const name of COPIED) symlinkSync(join(home, 'packages', name), join(modules, '@eclusa', name))
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
