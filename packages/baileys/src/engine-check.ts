import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import manifest from './engine-manifest.json' with { type: 'json' }

/** A package of the engine as it is recorded, or as it is found installed. */
export interface EnginePackage {
  readonly name: string
  readonly version: string
  /** SHA-256 over the paths and contents of its JavaScript files, in order of path. */
  readonly sha256: string
}

/** What this package was built and measured against. A fork or a patched file has another hash. */
export const KNOWN_ENGINE: readonly EnginePackage[] = manifest

/** The engine's packages as installed. Reads some 9 MB; about 60 ms. */
export function readInstalledEngine(): readonly EnginePackage[] {
  const baileys = path.dirname(path.dirname(fileURLToPath(import.meta.resolve('baileys'))))
  // libsignal stands beside baileys, or inside its own node_modules when versions clash.
  const libsignal = findPackage('libsignal', baileys)
  return [readPackage('baileys', baileys), readPackage('libsignal', libsignal)]
}

/**
 * Holds the installed engine against the recorded one.
 * @throws Error naming the package that differs: another version, or changed files.
 */
export function checkEngine(installed: readonly EnginePackage[] = readInstalledEngine()): void {
  for (const known of KNOWN_ENGINE) {
    const found = installed.find((candidate) => candidate.name === known.name)
    if (found === undefined) throw new Error(`${known.name} is not installed; run: npm ci`)
    if (found.version !== known.version) {
      throw new Error(
        `${known.name} is ${found.version}, this release is made for ${known.version}; run: npm ci`,
      )
    }
    if (found.sha256 !== known.sha256) {
      throw new Error(`the files of ${known.name} ${known.version} are not those of its release; run: npm ci`)
    }
  }
}

function findPackage(name: string, from: string): string {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules', name)
    if (exists(path.join(candidate, 'package.json'))) return candidate
    if (path.dirname(folder) === folder) throw new Error(`${name} is not installed; run: npm ci`)
  }
}

function exists(file: string): boolean {
  try {
    readFileSync(file)
    return true
  } catch {
    return false
  }
}

function readPackage(name: string, folder: string): EnginePackage {
  const description: unknown = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
  const version = (description as { version: string }).version
  const hash = createHash('sha256')
  for (const file of scriptFiles(folder).toSorted()) {
    const content = readFileSync(path.join(folder, file))
    hash.update(`${file.replaceAll(path.sep, '/')}\0${content.byteLength}\0`).update(content)
  }
  return { name, version, sha256: hash.digest('hex') }
}

function scriptFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .filter((file) => !file.startsWith(`node_modules${path.sep}`))
}
