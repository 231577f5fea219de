import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { seededRandom } from '@eclusa/kernel/test-kit'
import { diskShimEnv, restoreAfterPowerCut } from '@eclusa/storage/test-kit'
import { crashLoop, type CrashLoopOptions, type CrashLoopResult } from './crash-loop.ts'

interface DiskRun {
  /** The compiled disk shim. */
  readonly library: string
  readonly times: number
  readonly seed: number
}

/** Watched calls of one life; a commit makes about five. */
const MOST_CALLS = 250
/** A fault this early also hits the opening of the database. */
const MOST_CALLS_TO_FAULT = 90

/**
 * Lives of the queue on a disk of which only the synced bytes survive. The power goes at a random write or sync, or at
 * a random moment; in every other life some of the unsynced pieces survive as well, in any order.
 */
export function powerCuts(run: DiskRun): Promise<CrashLoopResult> {
  const random = seededRandom(run.seed)
  return onDisk(run, {
    envOf: (watch, life) =>
      diskShimEnv({
        library: run.library,
        watch,
        seed: life,
        ...(life % 2 === 0 ? {} : { leakPercent: 30 }),
        ...(life % 4 === 3 ? {} : { cutAt: 1 + Math.floor(random() ** 2 * MOST_CALLS) }),
      }),
    afterDeath: restoreAfterPowerCut,
  })
}

/** Lives of the queue in each of which some write or sync fails. */
export function diskFaults(run: DiskRun): Promise<CrashLoopResult> {
  const random = seededRandom(run.seed)
  const kinds = ['eio', 'enospc', 'short'] as const
  return onDisk(run, {
    envOf: (watch, life) => {
      const kind = kinds[life % 3]!
      const from = 1 + Math.floor(random() * MOST_CALLS_TO_FAULT)
      // A full disk stays full for a while; a short write is followed by "no space".
      const count = kind === 'eio' ? 1 : 2 + Math.floor(random() * 10)
      return diskShimEnv({ library: run.library, watch, fault: { kind, from, count } })
    },
    afterDeath: () => undefined,
  })
}

interface Watch {
  readonly folder: string
  readonly shadow: string
}

async function onDisk(
  { times, seed }: DiskRun,
  disk: {
    readonly envOf: (watch: Watch, life: number) => Readonly<Record<string, string>>
    readonly afterDeath: (watch: Watch) => void
  },
): Promise<CrashLoopResult> {
  const home = mkdtempSync(join(realpathSync(tmpdir()), 'eclusa-disk-'))
  const watch = { folder: join(home, 'disk'), shadow: join(home, 'synced') }
  for (const folder of Object.values(watch)) mkdirSync(folder)
  const damage: string[] = []
  const options: CrashLoopOptions = {
    place: { file: join(watch.folder, 'eclusa.db') },
    kills: times,
    seed,
    envOf: (life) => disk.envOf(watch, life),
    afterDeath: (life) => {
      disk.afterDeath(watch)
      damage.push(
        ...integrityOf(watch.folder, home).map((line) => `integrity_check after life ${life}: ${line}`),
      )
    },
  }
  try {
    const result = await crashLoop(options)
    return { ...result, violations: [...damage, ...result.violations] }
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/** What SQLite finds wrong with a copy, so that the next life recovers by itself. */
function integrityOf(folder: string, home: string): string[] {
  const copy = join(home, 'copy')
  rmSync(copy, { recursive: true, force: true })
  mkdirSync(copy)
  const names = readdirSync(folder).filter((name) => name.startsWith('eclusa.db') && !name.endsWith('-shm'))
  for (const name of names) copyFileSync(join(folder, name), join(copy, name))
  if (!names.includes('eclusa.db')) return []
  const database = new DatabaseSync(join(copy, 'eclusa.db'))
  try {
    const rows = database.prepare('pragma integrity_check').all()
    return rows.map((row) => String(row['integrity_check'])).filter((line) => line !== 'ok')
  } catch (error) {
    return [String(error)]
  } finally {
    database.close()
  }
}
