import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { ContactGrowth } from './contact-growth.ts'

const SCRIPT = fileURLToPath(new URL('./contact-growth.ts', import.meta.url))

test('each further contact takes less than 2 kB beside what caches are charged, a message to a group less than 16 kB a device', async () => {
  const flags = ['--expose-gc', '--no-flush-bytecode']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, SCRIPT])
  const { heldBytes, cachedBytes, leftBytes, groupBytes } = JSON.parse(stdout) as ContactGrowth
  assert.ok(cachedBytes > 1_000, `${cachedBytes} bytes are charged`)
  assert.ok(heldBytes - cachedBytes < 2_000, `${heldBytes} bytes held, ${cachedBytes} of them charged`)
  assert.ok(groupBytes < 16_000, `${groupBytes} bytes a device of a group`)
  assert.ok(leftBytes < 2_000, `${leftBytes} bytes are left`)
})
