import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { diskShimEnv } from '@eclusa/storage/test-kit'
import type { FaultFigures } from './fault-process.ts'

const PROGRAM = fileURLToPath(new URL('./fault-process.ts', import.meta.url))
const run = promisify(execFile)

/** A queue per fault, in one process on a disk that fails when told: cheap enough for a thousand. */
export async function manyFaults(options: {
  readonly library: string
  readonly faults: number
  readonly seed: number
}): Promise<FaultFigures> {
  const { library, ...order } = options
  const home = mkdtempSync(join(realpathSync(tmpdir()), 'eclusa-faults-'))
  const folder = join(home, 'disk')
  mkdirSync(folder)
  const env = {
    ...process.env,
    NODE_COMPILE_CACHE: join(home, 'compiled'),
    ...diskShimEnv({ library, watch: { folder } }),
  }
  try {
    const { stdout } = await run(process.execPath, [PROGRAM, JSON.stringify({ folder, ...order })], { env })
    return JSON.parse(stdout) as FaultFigures
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}
