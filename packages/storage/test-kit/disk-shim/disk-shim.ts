import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

/** A library to preload, or why there is none. */
type DiskShim = { readonly library: string } | { readonly missing: string }

let shim: DiskShim | undefined

/** Compiles `disk-shim.c` with the machine's C compiler, once per process; removed when the process ends. */
export function compileDiskShim(): DiskShim {
  shim ??= compile()
  return shim
}

function compile(): DiskShim {
  if (process.platform !== 'linux') return { missing: 'the disk shim is for Linux' }
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-shim-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const library = join(folder, 'disk-shim.so')
  const source = fileURLToPath(new URL('./disk-shim.c', import.meta.url))
  for (const compiler of ['cc', 'gcc', 'clang']) {
    try {
      execFileSync(compiler, ['-O2', '-shared', '-fPIC', '-o', library, source, '-ldl', '-lpthread'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      return { library }
    } catch (error) {
      if ((error as { code?: string }).code !== 'ENOENT')
        return { missing: `${compiler} failed: ${String((error as { stderr?: Buffer }).stderr ?? error)}` }
    }
  }
  return { missing: 'no C compiler (cc, gcc, clang) was found' }
}

/** The library; null after the test was skipped with a line that cannot be overlooked. Fails in CI. */
export function diskShimFor(t: TestContext): string | null {
  const found = compileDiskShim()
  if ('library' in found) return found.library
  const why = `NOT TESTED AGAINST A FAILING DISK: ${found.missing}`
  if (process.env['CI'] !== undefined) throw new Error(why)
  t.diagnostic(why)
  t.skip(why)
  return null
}

export interface DiskShimOptions {
  readonly library: string
  /** Added to each fsync and fdatasync, µs. */
  readonly fsyncMicros?: number
  /** The folder whose files are watched, and where what a power cut leaves of them is kept. */
  readonly watch?: { readonly folder: string; readonly shadow?: string }
  /** Each watched call is appended to this file: `DiskTrace` reads it. */
  readonly trace?: string
  /** 0 to 100: so many of the pieces written, but not synced, survive a cut nevertheless. */
  readonly leakPercent?: number
  /** The power goes at this watched call. */
  readonly cutAt?: number
  /** `count` watched calls from the `from`-th on fail. */
  readonly fault?: {
    readonly kind: 'eio' | 'enospc' | 'short'
    readonly from: number
    readonly count: number
  }
  readonly seed?: number
}

/** The environment of a process that runs on such a disk. */
export function diskShimEnv(options: DiskShimOptions): Record<string, string> {
  const { library, fsyncMicros, watch, trace, leakPercent, cutAt, fault, seed } = options
  return {
    LD_PRELOAD: library,
    ...(fsyncMicros === undefined ? {} : { DISK_SHIM_FSYNC_US: `${fsyncMicros}` }),
    ...(watch === undefined ? {} : { DISK_SHIM_DIR: watch.folder }),
    ...(watch?.shadow === undefined ? {} : { DISK_SHIM_SHADOW: watch.shadow }),
    ...(trace === undefined ? {} : { DISK_SHIM_TRACE: trace }),
    ...(leakPercent === undefined ? {} : { DISK_SHIM_LEAK: `${leakPercent}` }),
    ...(cutAt === undefined ? {} : { DISK_SHIM_CUT_AT: `${cutAt}` }),
    ...(fault === undefined ? {} : { DISK_SHIM_FAULT: `${fault.kind}:${fault.from}:${fault.count}` }),
    ...(seed === undefined ? {} : { DISK_SHIM_SEED: `${seed}` }),
  }
}

/** The power is back: the folder holds what was synced, and nothing else. */
export function restoreAfterPowerCut({
  folder,
  shadow,
}: {
  readonly folder: string
  readonly shadow: string
}): void {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true })
  mkdirSync(shadow, { recursive: true })
  for (const name of readdirSync(shadow)) copyFileSync(join(shadow, name), join(folder, name))
}
