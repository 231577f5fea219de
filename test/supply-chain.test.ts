import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

interface LockEntry {
  /** When it is not that of its path. */
  readonly name?: string
  readonly version?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly link?: boolean
}
type Lock = Readonly<Record<string, LockEntry>>

/**
 * Forks of Baileys and what comes with them that steal sessions, delete files or follow channels on somebody's behalf, by
 * their advisories (MAL-2025-192748, -5804, -806, MAL-2026-2252, GHSA-j2h4-4g8c-mqh9, OSV of August and September 2026,
 * Socket of August 2025).
 */
const MALICIOUS: ReadonlySet<string> = new Set([
  'lotusbail',
  'naya-flore',
  'nvlore-hsc',
  'baileys-cleaner',
  'baileys-dgxeon',
  'dgxeon-baileys',
  '@sahril2nd/baileys',
  'my-auto-follow',
  '@dreamguyxeon/baileyx',
  '@dgxeon13/libsignal-node',
  '@dreamguyxeon/libsignal-node',
  '@crysnovax/baileys',
  '@modss/baileys',
  'megan-baileys',
])
/** What may have such a name. */
const KNOWN = ['baileys', 'libsignal', 'whatsapp-rust-bridge', '@eclusa/baileys']

/** What is wrong with a lock file, a sentence each. */
function faultsOf(lock: Lock): readonly string[] {
  const faults: string[] = []
  for (const [path, { version, name: alias, resolved, integrity, link }] of Object.entries(lock)) {
    if (!path.includes('node_modules/') || link === true) continue
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
    if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? '')) faults.push(`${path} has no SHA-512`)
    // Without an address it comes from the registry, whichever that is, under its name and with its hash.
    if (resolved !== undefined && !resolved.startsWith(`https://registry.npmjs.org/${name}/-/`)) {
      faults.push(`${path} comes from ${resolved}`)
    }
    // An alias: what is installed under a trusted name is another package.
    if (alias !== undefined && alias !== name) faults.push(`${path} is really ${alias}`)
    if (MALICIOUS.has(name) || (alias !== undefined && MALICIOUS.has(alias))) {
      faults.push(`${path} is malicious`)
    } else if (/baileys|libsignal|whatsapp/i.test(name) && !KNOWN.includes(name)) {
      faults.push(`${path} is not on the list`)
    }
    if (version === undefined) faults.push(`${path} has no version`)
  }
  return faults
}

const root = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { readonly packages: Lock }

test('the lock file holds registry packages only, each with its hash, and none of the known malicious ones', () => {
  assert.ok(Object.keys(root.packages).length > 300)
  assert.deepEqual(faultsOf(root.packages), [])
})

test('a git package, one without a hash, an alias, and every malicious fork are found', () => {
  const good = root.packages['node_modules/baileys']!
  assert.deepEqual(faultsOf({ 'node_modules/baileys': good }), [])
  for (const bad of [
    { ...good, integrity: undefined as never },
    { ...good, integrity: 'sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=' },
    { ...good, resolved: 'git+ssh://git@github.com/someone/baileys.git#0123456' },
    { ...good, name: 'lotusbail' },
    { ...good, resolved: 'https://registry.npmjs.org/lotusbail/-/lotusbail-1.0.0.tgz' },
    { ...good, resolved: 'http://registry.npmjs.org/baileys/-/baileys-7.0.0-rc14.tgz' },
  ]) {
    assert.notDeepEqual(faultsOf({ 'node_modules/baileys': bad }), [], JSON.stringify(bad))
  }
  for (const name of MALICIOUS) {
    const resolved = `https://registry.npmjs.org/${name}/-/x-1.0.0.tgz`
    assert.match(faultsOf({ [`node_modules/${name}`]: { ...good, resolved } }).join(), /is malicious/, name)
    assert.notDeepEqual(faultsOf({ [`node_modules/a/node_modules/${name}`]: { ...good, resolved } }), [])
  }
})

test('nothing of what is installed runs a script, and every version that we ask for is exact', () => {
  assert.match(readFileSync('.npmrc', 'utf8'), /^ignore-scripts=true$/m)
  const wrong: string[] = []
  for (const file of ['package.json', ...globSync('{packages,apps,tools}/*/package.json')]) {
    const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
      readFileSync(file, 'utf8'),
    ) as Record<string, Record<string, string> | undefined>
    for (const [name, version] of Object.entries({
      ...dependencies,
      ...devDependencies,
      ...optionalDependencies,
    })) {
      if (!/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version)) wrong.push(`${file}: ${name} ${version}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('the engine in the lock file is the one whose files are checked at start', () => {
  const known = JSON.parse(readFileSync('packages/baileys/src/engine-manifest.json', 'utf8')) as readonly {
    readonly name: string
    readonly version: string
    readonly sha256: string
  }[]
  assert.deepEqual(
    known.map(({ name }) => name),
    ['baileys', 'libsignal'],
  )
  for (const { name, version, sha256 } of known) {
    assert.match(sha256, /^[0-9a-f]{64}$/)
    const found = Object.entries(root.packages).filter(([path]) => path.endsWith(`node_modules/${name}`))
    assert.deepEqual(
      found.map(([, entry]) => entry.version),
      [version],
      `${name} is in the lock file once, in the version that was checked`,
    )
  }
})
