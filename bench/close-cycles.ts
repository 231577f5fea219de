import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { report } from './report.ts'

/*
 * What stays of a socket after its end: opened, used and closed in a loop, in four ways (used for a message in and out,
 * with 20 queries in flight, in mid-handshake, cut off by the server), in one process, with the simulator in another.
 * Aim: no socket in memory after a forced collection, less than 3 kB each. CYCLES: of each kind.
 */
const cycles = Number(process.argv[2] ?? 1_000)
const script = path.join(import.meta.dirname, '../packages/baileys/test/close-cycles.ts')
const { stdout } = await promisify(execFile)(process.execPath, [
  '--expose-gc',
  '--no-flush-bytecode',
  script,
  String(cycles),
])
report('close-cycles', 'npm run bench:close', {
  results: JSON.parse(stdout) as unknown,
  aim: { alive: 0, bytesPerSocket: 3_000 },
})
