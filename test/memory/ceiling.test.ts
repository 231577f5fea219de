import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { MIB } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess } from '../harness.ts'

const root = path.dirname(path.dirname(import.meta.dirname))
const bin = path.join(root, 'apps/gateway/bin/eclusa.js')
/** Nobody listens there. */
const NOWHERE = 'ws://127.0.0.1:9/ws/chat'

interface Report {
  readonly plan: {
    readonly ceilingBytes: number
    readonly heapLimitBytes: number
    readonly semiSpaceBytes: number
    readonly sessions: number
    readonly sessionsAsked: number
  }
  readonly now: { readonly heapLimitBytes: number; readonly rssBytes: number }
}

function environment(folder: string, env: Record<string, string>): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    ECLUSA_DATA_DIR: path.join(folder, 'data'),
    ECLUSA_HTTP_PORT: '0',
    ECLUSA_DEMO: 'off',
    ECLUSA_WHATSAPP_URL: NOWHERE,
    ...env,
  }
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-ceiling-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a ceiling under which the sessions do not fit is refused with what to set, and nothing was begun', async (t) => {
  const folder = folderOf(t)
  const env = { ECLUSA_MEMORY_CEILING: '768MiB', ECLUSA_MAX_INSTANCES: '500' }
  const { code, err } = await new Promise<{ code: number; err: string }>((resolve) => {
    execFile(process.execPath, [bin, 'start'], { env: environment(folder, env) }, (error, _, stderr) =>
      resolve({ code: Number(error?.code ?? 0), err: stderr }),
    )
  })
  assert.equal(code, 2)
  assert.match(err, /^eclusa: The memory of 500 sessions does not fit.*raise ECLUSA_MEMORY_CEILING to \d+MiB/)
  assert.match(err, /set ECLUSA_MAX_INSTANCES to \d+ or less.*ECLUSA_MEMORY_WHEN_SHORT=lower/)
  assert.doesNotMatch(err, /\n\s+at /)
  assert.equal(existsSync(path.join(folder, 'data')), false)
})

test('the same ceiling with "lower" starts with as many sessions as fit, in a heap of that size', async (t) => {
  const gateway = await GatewayProcess.start(t, {
    whatsapp: NOWHERE,
    env: {
      ECLUSA_MEMORY_CEILING: '768MiB',
      ECLUSA_MAX_INSTANCES: '500',
      ECLUSA_MEMORY_WHEN_SHORT: 'lower',
    },
  })
  const { plan, now } = await gateway.call<Report>('GET', '/v1/memory')
  assert.equal(plan.sessionsAsked, 500)
  assert.ok(plan.sessions > 0 && plan.sessions < 500)
  assert.match(gateway.output, /fewer sessions than ECLUSA_MAX_INSTANCES fit.*raise ECLUSA_MEMORY_CEILING/)
  // V8 counts the young generation too.
  assert.ok(now.heapLimitBytes >= plan.heapLimitBytes)
  assert.ok(now.heapLimitBytes <= plan.heapLimitBytes + 3 * plan.semiSpaceBytes + MIB)
  assert.ok(now.rssBytes < plan.ceilingBytes)
  assert.equal(await gateway.stop(), 0)
})

test('a launched gateway is the same process, once: the flags are there, and no child', async (t) => {
  const gateway = await GatewayProcess.start(t, { whatsapp: NOWHERE })
  const line = readFileSync(`/proc/${gateway.pid}/cmdline`, 'utf8').split('\0')
  assert.equal(line.filter((part) => part.startsWith('--max-old-space-size=')).length, 1)
  assert.equal(line.filter((part) => part.startsWith('--max-semi-space-size=')).length, 1)
  assert.equal(readFileSync(`/proc/${gateway.pid}/task/${gateway.pid}/children`, 'utf8'), '')
})

test('with options of Node’s own and a message channel, both reach the gateway, and so do signals', async (t) => {
  const gateway = await GatewayProcess.start(t, {
    whatsapp: NOWHERE,
    nodeArgs: ['--expose-gc', '--import', path.join(root, 'bench/memory-probe.ts')],
  })
  const { plan, now } = await gateway.call<Report>('GET', '/v1/memory')
  assert.ok(now.heapLimitBytes <= plan.heapLimitBytes + 3 * plan.semiSpaceBytes + MIB)
  const probe = await gateway.ask<{ readonly heapUsed: number; readonly rss: number }>('memory')
  assert.ok(probe.rss > probe.heapUsed && probe.heapUsed > 25 * MIB, 'it is the gateway that answers')
  assert.equal(await gateway.stop(), 0)
})

test('a launcher that is killed leaves no gateway behind', async (t) => {
  const folder = folderOf(t)
  const launcher = spawn(process.execPath, [bin, 'start'], {
    env: environment(folder, {}),
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  t.after(() => launcher.kill('SIGKILL'))
  let out = ''
  launcher.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString()))
  await until(() => out.includes('Eclusa listens on'), 'it runs')
  const child = childOf(launcher)
  launcher.kill('SIGKILL')
  await until(() => !isAlive(child), 'the gateway has stopped, too')
})

test('what an operator bounds by hand is left alone', async (t) => {
  const gateway = await GatewayProcess.start(t, {
    whatsapp: NOWHERE,
    env: { NODE_OPTIONS: '--max-old-space-size=700' },
  })
  const { now } = await gateway.call<Report>('GET', '/v1/memory')
  assert.ok(now.heapLimitBytes > 700 * MIB && now.heapLimitBytes < 900 * MIB)
})

test('a thread keeps a limit of its own beside the flags of the main thread', async () => {
  const script = `
    import { Worker } from 'node:worker_threads'
    import { keepHeapFlagsFromThreads } from ${JSON.stringify(path.join(root, 'apps/gateway/src/memory/heap-flags.ts'))}
    keepHeapFlagsFromThreads()
    const code = "const { parentPort } = process.getBuiltinModule('node:worker_threads');" +
      "parentPort.postMessage(process.getBuiltinModule('node:v8').getHeapStatistics().heap_size_limit)"
    const limits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 6 }
    new Worker(code, { eval: true, resourceLimits: limits }).on('message', (bytes) => console.log(bytes))`
  const limit = await new Promise<string>((resolve, reject) => {
    execFile(
      process.execPath,
      ['--max-old-space-size=900', '--max-semi-space-size=8', '--input-type=module', '-e', script],
      (error, out) => (error === null ? resolve(out) : reject(error)),
    )
  })
  assert.equal(Math.round(Number(limit) / MIB), 70)
})

function childOf(parent: ChildProcess): number {
  return Number(readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').trim())
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
