import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { KindResult } from './close-cycles.ts'

const SCRIPT = fileURLToPath(new URL('./close-cycles.ts', import.meta.url))
/** Runs the cycles in a process of their own and holds them against what was promised. */
export async function assertNothingStays(o: {
  readonly cycles: number
  readonly maxBytesPerSocket: number
}): Promise<void> {
  const { cycles, maxBytesPerSocket } = o
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--no-flush-bytecode',
    SCRIPT,
    String(cycles),
  ])
  const results = JSON.parse(stdout) as readonly KindResult[]
  assert.equal(results.length, 4)
  for (const { kind, alive, bytesPerSocket, rejected, queries } of results) {
    assert.equal(alive, 0, `${kind}: ${alive} of ${cycles} sockets are still in memory`)
    assert.ok(bytesPerSocket < maxBytesPerSocket, `${kind}: ${bytesPerSocket} bytes stay per socket`)
    assert.equal(rejected, queries, `${kind}: every query in flight is rejected`)
  }
}
