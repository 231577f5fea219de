import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GIB, KIB, MIB } from '@eclusa/kernel'

/** How much memory, as an operator says it: so many bytes, or a part of what this process may use. */
export type Size =
  | { readonly kind: 'bytes'; readonly bytes: number }
  | { readonly kind: 'percent'; readonly percent: number }

/** What this process may use at most, and who says so. */
export interface MachineLimit {
  readonly bytes: number
  readonly source: 'cgroup v2' | 'cgroup v1' | 'machine'
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KIB: KIB,
  MIB,
  GIB,
  // As Docker and Kubernetes mean them: -m 512m, limits.memory: 1Gi.
  K: KIB,
  M: MIB,
  G: GIB,
  KI: KIB,
  MI: MIB,
  GI: GIB,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
}

/** `2GiB`, `1500 MB`, `512m`, `805306368` or `75%`; what is wrong with it otherwise. */
export function parseSize(text: string): { readonly size: Size } | { readonly fault: string } {
  const [, digits = '', unit = ''] = /^(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3}|%)$/.exec(text.trim()) ?? []
  if (digits === '') return { fault: 'must be a size such as 2GiB, 1500MB or 75%' }
  const value = Number(digits)
  if (unit === '%') {
    return value > 0 && value <= 100
      ? { size: { kind: 'percent', percent: value } }
      : { fault: 'must be above 0% and at most 100%' }
  }
  const factor = UNITS[unit.toUpperCase()]
  if (factor === undefined)
    return { fault: `has an unknown unit, ${unit}: use KiB, MiB, GiB, KB, MB, GB or %` }
  const bytes = Math.floor(value * factor)
  if (!Number.isSafeInteger(bytes)) return { fault: 'is larger than any machine' }
  return { size: { kind: 'bytes', bytes } }
}

/** The ceiling in bytes. A size above what the machine gives is cut to that: promised memory that is not there kills. */
export function ceilingOf(size: Size, limit: MachineLimit): number {
  return Math.min(partOf(size, limit.bytes), limit.bytes)
}

/** A size in bytes; percent of `wholeBytes`. */
export function partOf(size: Size, wholeBytes: number): number {
  return size.kind === 'bytes' ? size.bytes : Math.floor((wholeBytes * size.percent) / 100)
}

/**
 * The smallest limit that any control group above this process sets, else the machine's memory. `root` is the root of
 * the file system.
 */
export function readMachineLimit(options: {
  readonly root: string
  readonly machineBytes: number
}): MachineLimit {
  const { root, machineBytes } = options
  const groups = (read(join(root, 'proc/self/cgroup')) ?? '').split('\n')
  const found: MachineLimit[] = []
  for (const line of groups) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? []
    if (controllers === undefined || path === undefined) continue
    if (controllers === '') {
      const bytes = smallest(join(root, 'sys/fs/cgroup'), path, ['memory.max', 'memory.high'])
      found.push({ bytes, source: 'cgroup v2' })
    } else if (controllers.split(',').includes('memory')) {
      const bytes = smallest(join(root, 'sys/fs/cgroup/memory'), path, ['memory.limit_in_bytes'])
      found.push({ bytes, source: 'cgroup v1' })
    }
  }
  // Without a limit v2 says "max" and v1 a number near 2^63.
  const [least] = found.filter(({ bytes }) => bytes < machineBytes).toSorted((a, b) => a.bytes - b.bytes)
  return least ?? { bytes: machineBytes, source: 'machine' }
}

/** A group's parents limit it too. In a container the path is often the host's, and only the mount's root is there. */
function smallest(mount: string, path: string, files: readonly string[]): number {
  const names = path.split('/').filter((name) => name !== '' && name !== '.' && name !== '..')
  let least = Number.POSITIVE_INFINITY
  for (let depth = names.length; depth >= 0; depth--) {
    for (const file of files) {
      const text = read(join(mount, ...names.slice(0, depth), file))?.trim() ?? ''
      if (/^\d+$/.test(text) && Number(text) > 0) least = Math.min(least, Number(text))
    }
  }
  return least
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
