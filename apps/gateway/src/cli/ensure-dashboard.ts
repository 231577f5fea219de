import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const BUILD: string = fileURLToPath(new URL('../../../dashboard/build.ts', import.meta.url))

/**
 * Under `npm start`, builds the dashboard before the gateway starts where its sources have changed since: in a process
 * of its own, whose memory is given back. Whatever comes of it, the gateway starts; without a dashboard it says so at
 * its address.
 */
export function ensureDashboard(argv: readonly string[]): void {
  const [, , command, ...rest] = argv
  if (command !== 'start' || rest.length > 0 || process.env['npm_lifecycle_event'] !== 'start') return
  if (process.env['ECLUSA_DASHBOARD'] === 'off' || !existsSync(BUILD)) return
  const { status } = spawnSync(process.execPath, [BUILD], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) process.stderr.write('The dashboard could not be built; the gateway starts without it.\n')
}
