import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Config, loadConfig } from '../config.ts'
import { nodeFlags, planGateway, thisMachine } from '../memory/gateway-plan.ts'

/** What already bounds V8, ours from the launch before or the operator's own. */
const HEAP_FLAGS = /--(?:max[-_]old[-_]space[-_]size|max[-_]heap[-_]size)\b/
const PASSED_ON: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP']

/**
 * Runs `eclusa start` anew with V8 bounded by the memory plan: the limits of a heap can only be given when its process
 * begins. Returns false when there is nothing to do: another command, bounded already, or a configuration or a plan
 * that `start` itself is about to refuse. Where it returns true the command has run.
 */
export async function launchBounded(argv: readonly string[]): Promise<boolean> {
  const [, , command, ...rest] = argv
  if (command !== 'start' || rest.length > 0) return false
  if (HEAP_FLAGS.test([...process.execArgv, process.env['NODE_OPTIONS']].join(' '))) return false
  const flags = plannedFlags()
  if (flags === null) return false
  const args = [...process.execArgv, ...flags, ...argv.slice(1)]
  // The same process, number and all. It keeps standard streams only, so one with a message channel needs the other way.
  if (process.execve !== undefined && process.channel === undefined) {
    process.execve(process.execPath, [process.execPath, ...args], process.env)
  }
  await runChild(args)
  return true
}

function plannedFlags(): readonly string[] | null {
  try {
    const config = loadConfig()
    const plan = planGateway(config, thisMachine())
    return plan.fits ? [...nodeFlags(plan), ...permissionFlags(config)] : null
  } catch {
    // `start` reads it again, and tells.
    return null
  }
}

/**
 * What Node lets the process do. Reading is not limited: modules, certificates and the machine's facts lie all over. The
 * network cannot be limited by the Node that we pin.
 */
function permissionFlags({ permissions, dataDir }: Config): readonly string[] {
  if (!permissions) return []
  // Whoever may write there only cannot make it.
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  return [
    '--permission',
    '--allow-worker',
    // Threads are under the same rules since Node 24; the warning is about what came before.
    '--disable-warning=PERM0006',
    '--allow-fs-read=*',
    `--allow-fs-write=${resolve(dataDir)}`,
  ]
}

/** Stands in for the child: streams, signals, messages and the end are passed on. */
async function runChild(args: readonly string[]): Promise<void> {
  const channel = process.channel === undefined ? [] : (['ipc'] as const)
  const child = spawn(process.execPath, args, { stdio: ['inherit', 'inherit', 'inherit', ...channel] })
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal)
  for (const signal of PASSED_ON) process.on(signal, pass)
  if (channel.length > 0) {
    // What was preloaded here (`--import`) is loaded there too, and answers for the gateway.
    process.removeAllListeners('message')
    process.on('message', (message: object) => void (child.connected && child.send(message)))
    // Our parent is gone: the child sees its own channel end, and stops.
    process.on('disconnect', () => void (child.connected && child.disconnect()))
    child.on('message', (message) => void process.send?.(message))
  }
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (...ending) => resolve(ending))
  })
  for (const one of PASSED_ON) process.off(one, pass)
  if (signal !== null) process.kill(process.pid, signal)
  process.exit(code ?? 1)
}
