import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { DatabasePlace } from '@eclusa/storage/test-kit'
import type { BacklogFigures } from './backlog-process.ts'

const PROGRAM = fileURLToPath(new URL('./backlog-process.ts', import.meta.url))
const run = promisify(execFile)

export interface Backlog {
  readonly rows: number
  readonly chats: number
  readonly isHot: boolean
}

/** Fills a backlog in one process, then serves it from another while new messages come in. */
export async function serveBacklog(
  place: DatabasePlace,
  backlog: Backlog,
  sends: number,
): Promise<BacklogFigures> {
  const order = (mode: 'fill' | 'serve'): string => JSON.stringify({ place, mode, ...backlog, sends })
  await run(process.execPath, [PROGRAM, order('fill')])
  const { stdout } = await run(process.execPath, [PROGRAM, order('serve')])
  return JSON.parse(stdout) as BacklogFigures
}
