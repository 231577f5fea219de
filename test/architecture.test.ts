import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

/** Who may import whom (design: kernel ← storage ← {queue, contacts, flows, session} ← gateway; neighbours never import one another). */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'packages/kernel': [],
  'packages/bounded-cache': [],
  'packages/baileys': ['@eclusa/bounded-cache', 'baileys'],
  'packages/storage': ['@eclusa/kernel'],
  'packages/queue': ['@eclusa/kernel', '@eclusa/storage'],
  'packages/contacts': ['@eclusa/kernel', '@eclusa/storage', '@eclusa/bounded-cache'],
  'packages/flows': ['@eclusa/kernel', '@eclusa/storage'],
  'packages/session': ['@eclusa/kernel', '@eclusa/storage', '@eclusa/bounded-cache', '@eclusa/baileys'],
  'packages/simulator': ['@eclusa/kernel', 'baileys'],
  // It knows the gateway by its HTTP API alone.
  'apps/dashboard': [],
  'apps/gateway': [
    '@eclusa/kernel',
    '@eclusa/storage',
    '@eclusa/queue',
    '@eclusa/contacts',
    '@eclusa/flows',
    '@eclusa/session',
    '@eclusa/bounded-cache',
  ],
}

/** What only some files may do, and why it matters: memory, time and secrets have one door each. */
const FENCES: readonly { readonly what: RegExp; readonly only: RegExp; readonly rule: string }[] = [
  {
    what: /from '(@eclusa\/)?baileys'/,
    only: /^packages\/(baileys\/src\/|session\/src\/engines\/baileys\/|session\/src\/index\.ts|simulator\/src\/wire\.ts)/,
    rule: 'Baileys is known to one package, one folder and one file',
  },
  {
    what: /from 'pg'/,
    only: /^packages\/storage\/src\/postgres-connection\.ts/,
    rule: 'pg is known to one file',
  },
  {
    what: /process\.env\b/,
    only: /^(apps\/gateway\/src\/(config\.ts|cli\/)|packages\/baileys\/src\/cache-log\.ts)/,
    rule: 'the environment is read in config.ts; BAILEYS_LOG, for who uses that package alone, in its log',
  },
  {
    what: /\b(setTimeout|setInterval|Date\.now)\(/,
    only: /^(packages\/(kernel\/src\/clock\.ts|baileys\/|bounded-cache\/)|apps\/dashboard\/)/,
    rule: 'time comes through the clock; a browser has its own',
  },
  {
    what: /\b(SELECT .* FROM|INSERT INTO|UPDATE ".*" SET|DELETE FROM)\b/,
    only: /(-store\.ts|^packages\/storage\/src\/)/,
    rule: 'SQL stands in *-store.ts',
  },
]

const sources = globSync('{packages,apps}/*/src/**/*.ts').map((file) => ({
  file: file.replaceAll('\\', '/'),
  lines: readFileSync(file, 'utf8').split('\n'),
}))

test('packages import only what lies below them', () => {
  const wrong: string[] = []
  for (const { file, lines } of sources) {
    const owner = file.split('/').slice(0, 2).join('/')
    const allowed = MAY_IMPORT[owner]
    assert.ok(allowed !== undefined, `${owner} stands in no row of MAY_IMPORT`)
    for (const line of lines) {
      const name = /(?:from|import\() ?'((?:@eclusa\/[a-z-]+|baileys))/.exec(line)?.[1]
      if (name !== undefined && !allowed.includes(name)) wrong.push(`${file} imports ${name}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('Baileys, the environment, time and SQL have one door each', () => {
  const wrong: string[] = []
  for (const { file, lines } of sources) {
    for (const fence of FENCES) {
      if (fence.only.test(file)) continue
      for (const [index, line] of lines.entries()) {
        if (isComment(line)) continue
        if (fence.what.test(line)) wrong.push(`${file}:${index + 1} ${fence.rule}`)
      }
    }
  }
  assert.deepEqual(wrong, [])
})

test('the lock file names the packages of every platform, without which npm ci fails', () => {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>
  }
  const names = new Set(
    Object.keys(lock.packages).map((key) => key.slice(key.lastIndexOf('node_modules/') + 13)),
  )
  const missing = Object.entries(lock.packages).flatMap(([key, { optionalDependencies }]) =>
    Object.keys(optionalDependencies ?? {})
      .filter((name) => !names.has(name))
      .map((name) => `${key} wants ${name}: pin a release whose platform packages are all out`),
  )
  assert.deepEqual(missing, [])
})

function isComment(line: string): boolean {
  return /^\s*(\/\/|\*|\/\*)/.test(line)
}
