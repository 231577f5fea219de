import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'

test('what is published runs below node_modules, as JavaScript, with nothing beside it', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'bounded-cache-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const home = path.join(folder, 'node_modules/@eclusa')
  mkdirSync(home, { recursive: true })
  const installed = path.join(home, 'bounded-cache')
  execFileSync(process.execPath, [path.join(import.meta.dirname, '../pack.ts'), installed])
  const program = `
    import { BoundedCache, CacheBudget, NodeCache } from '@eclusa/bounded-cache'
    import Default from '@eclusa/bounded-cache/node-cache'
    const owner = new CacheBudget({ maxBytes: 1e6 }).owner('ana')
    const cache = new Default({ maxKeys: 2, owner })
    for (const key of ['a', 'b', 'c']) cache.set(key, 1)
    process.stdout.write(JSON.stringify([Default === NodeCache, cache.keys(), typeof BoundedCache]))
  `
  const answer = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: folder,
    encoding: 'utf8',
  })
  assert.deepEqual(JSON.parse(answer), [true, ['b', 'c'], 'function'])
  const published = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8')) as object
  assert.ok(!('private' in published) && !('dependencies' in published))
})
