import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { ContactGrowth } from './contact-growth.ts'

const SCRIPT = fileURLToPath(new URL('./contact-growth.ts', import.meta.url))

test('each further contact takes less than 2 kB beside what the caches are charged with, and leaves less than that', async () => {
  const flags = ['--expose-gc', '--no-flush-bytecode']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, SCRIPT])
  const { heldBytes, cachedBytes, leftBytes } = JSON.parse(stdout) as ContactGrowth
  assert.ok(cachedBytes > 1_000, `${cachedBytes} bytes are charged`)
  assert.ok(heldBytes - cachedBytes < 2_000, `${heldBytes} bytes held, ${cachedBytes} of them charged`)
  assert.ok(leftBytes < 2_000, `${leftBytes} bytes are left`)
})
