import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { ContactGrowth } from './contact-growth.ts'

const SCRIPT = fileURLToPath(new URL('./contact-growth.ts', import.meta.url))

test('each further contact takes less than 2 kB beside what caches are charged, and in all once they are full, a message to a group less than 16 kB a device', async () => {
  const flags = ['--expose-gc', '--no-flush-bytecode']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, SCRIPT])
  const growth = JSON.parse(stdout) as ContactGrowth
  const { heldBytes, cachedBytes, beyondFullBytes, leftBytes, groupBytes } = growth
  record(growth)
  assert.ok(cachedBytes > 1_000, `${cachedBytes} bytes are charged`)
  assert.ok(heldBytes - cachedBytes < 2_000, `${heldBytes} bytes held, ${cachedBytes} of them charged`)
  assert.ok(beyondFullBytes < 2_000, `${beyondFullBytes} bytes once the caches are full`)
  assert.ok(groupBytes < 16_000, `${groupBytes} bytes a device of a group`)
  assert.ok(leftBytes < 2_000, `${leftBytes} bytes are left`)
})

/** Leaves the figures where those of the benches are. */
function record(results: ContactGrowth): void {
  const machine = {
    date: new Date().toISOString(),
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
  }
  const report = { proof: 'contact-growth', command: 'npm run test:long', machine, results }
  const file = new URL('../../../bench/results/contact-growth.json', import.meta.url)
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
}
