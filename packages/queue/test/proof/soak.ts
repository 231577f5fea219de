import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { DatabasePlace } from '@eclusa/storage/test-kit'
import type { SoakFigures } from './soak-process.ts'

const PROGRAM = fileURLToPath(new URL('./soak-process.ts', import.meta.url))
const run = promisify(execFile)

/** 10,000 chats of 100 tenants, paced for so long in a process of its own. */
export async function soak(place: DatabasePlace, seconds: number): Promise<SoakFigures> {
  // A limit, so that its memory is what it needs and not what a collector has not got round to.
  const heap = '--max-old-space-size=256'
  const { stdout } = await run(process.execPath, [heap, PROGRAM, JSON.stringify({ place, seconds })])
  return JSON.parse(stdout) as SoakFigures
}
