import path from 'node:path'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../test/harness.ts'
import type { Probe } from './memory-probe.ts'
import { BenchScope, report, round } from './report.ts'

/*
 * What an idle linked number costs, and how soon known numbers are online after a start. The whole gateway with its
 * database runs in one process, the simulator in another. Marginal = (at LARGE − at SMALL) / (LARGE − SMALL), after a
 * forced collection; RSS is also given freshly restarted, where nothing of the pairing is left in the allocator.
 */

const SMALL = 50
const LARGE = 200
const BOOT = 100

const scope = new BenchScope()
try {
  const simulator = await SimulatorProcess.start(scope)
  const gateway = await GatewayProcess.start(scope, {
    whatsapp: simulator.whatsapp,
    env: { ECLUSA_LOG_LEVEL: 'warn', ECLUSA_MAX_INSTANCES: '1000' },
    nodeArgs: ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')],
  })

  const base = await gateway.ask<Probe>('memory')
  const ids: string[] = []
  await pairUpTo(gateway, simulator, ids, SMALL)
  const small = await settled(gateway)
  await pairUpTo(gateway, simulator, ids, BOOT)
  const bootMs = await restart(gateway, ids)
  await pairUpTo(gateway, simulator, ids, LARGE)
  const large = await settled(gateway)
  const bootLargeMs = await restart(gateway, ids)
  const largeRestarted = await settled(gateway)
  await stopAllBut(gateway, ids, SMALL)
  await restart(gateway, ids.slice(0, SMALL))
  const smallRestarted = await settled(gateway)

  const marginal = (a: number, b: number): number => round((b - a) / (LARGE - SMALL) / 2 ** 20, 3)
  report('sessions', 'npm run bench:sessions', {
    baseMb: megabytes(base),
    afterPairing: { [SMALL]: megabytes(small), [LARGE]: megabytes(large) },
    afterRestart: { [SMALL]: megabytes(smallRestarted), [LARGE]: megabytes(largeRestarted) },
    marginalMbPerSession: {
      afterPairing: { rss: marginal(small.rss, large.rss), heap: marginal(small.heapUsed, large.heapUsed) },
      afterRestart: {
        rss: marginal(smallRestarted.rss, largeRestarted.rss),
        heap: marginal(smallRestarted.heapUsed, largeRestarted.heapUsed),
      },
    },
    bootUntilAllOnlineMs: { [BOOT]: Math.round(bootMs), [LARGE]: Math.round(bootLargeMs) },
    aim: { marginalRssMb: 1.5, boot100Ms: 15_000 },
  })
  await simulator.check()
} finally {
  await scope.close()
}

async function pairUpTo(
  gateway: GatewayProcess,
  simulator: SimulatorProcess,
  ids: string[],
  count: number,
): Promise<void> {
  while (ids.length < count) {
    const batch = Array.from({ length: Math.min(5, count - ids.length) }, (_, index) => ids.length + index)
    ids.push(
      ...(await Promise.all(batch.map((n) => gateway.pair(simulator, `55119${String(n).padStart(8, '0')}`)))),
    )
  }
}

/** Start of the process until every given instance is online, in milliseconds. */
async function restart(gateway: GatewayProcess, ids: readonly string[]): Promise<number> {
  await gateway.stop()
  const startedAt = performance.now()
  await gateway.start()
  await until(
    async () => {
      const { items } = await gateway.call<{ items: { id: string; state: string }[] }>('GET', '/v1/instances')
      return items.filter(({ id, state }) => ids.includes(id) && state === 'online').length === ids.length
    },
    'all are online',
    120_000,
  )
  return performance.now() - startedAt
}

async function stopAllBut(gateway: GatewayProcess, ids: readonly string[], keep: number): Promise<void> {
  for (const id of ids.slice(keep)) await gateway.call('POST', `/v1/instances/${id}/stop`)
}

/** Idle for ten seconds, so that what pairing and logging in left behind is gone. */
async function settled(gateway: GatewayProcess): Promise<Probe> {
  await new Promise((resolve) => setTimeout(resolve, 10_000))
  return gateway.ask<Probe>('memory')
}

function megabytes(probe: Probe): Record<string, number> {
  return {
    rss: round(probe.rss / 2 ** 20, 1),
    heap: round(probe.heapUsed / 2 ** 20, 1),
    external: round(probe.external / 2 ** 20, 1),
  }
}
