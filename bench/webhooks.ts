import path from 'node:path'
import { parseArgs } from 'node:util'
import { type Kind, webhookStorm } from '../test/resilience/webhook-storm.ts'
import { BenchScope, report } from './report.ts'

/*
 * 100 endpoints, 20 of them dead in seven ways, 10 that answer after 25 s, some with endless bodies, while events keep
 * coming: how late healthy ones get them and what the memory does (`npm run bench:webhooks`); and whether every event
 * reaches them, once or more, under one id and in the order of its chat, while the gateway is killed at random
 * (`-- --kills 100`). Pauses between tries are a thousandth of the true ones. Receivers live in this process, on the
 * same cores. `--database postgres://…` for PostgreSQL.
 */

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '120' },
    rate: { type: 'string', default: '2' },
    seed: { type: 'string', default: '20261129' },
    database: { type: 'string' },
  },
})
const kills = Number(values.kills)

const kinds: Readonly<Record<Kind, number>> = {
  good: 60,
  flaky: 5,
  huge: 2,
  drip: 3,
  slow: 10,
  refused: 6,
  silent: 4,
  error: 3,
  reset: 3,
  moved: 2,
  loris: 1,
  gone: 1,
}

const scope = new BenchScope()
try {
  const size = {
    kinds,
    tenants: 5,
    chatsOfTenant: 20,
    rate: Number(values.rate),
    slowMs: 25_000,
    calmMs: kills > 0 ? 0 : Number(values.seconds) * 1000,
    kills,
    liveMs: { min: 200, max: 2000 },
    seed: Number(values.seed),
  }
  const result = await webhookStorm(scope, {
    ...size,
    ...(values.database === undefined ? {} : { databaseUrl: values.database }),
    ...(kills > 0
      ? {}
      : { probeArgs: ['--expose-gc', '--import', path.join(import.meta.dirname, 'memory-probe.ts')] }),
  })
  const { calmP95Ms, calmP99Ms, stormP95Ms, memory, ...rest } = result
  const database = values.database === undefined ? 'sqlite' : 'postgres'
  if (kills > 0) {
    report('webhooks-kills', `npm run bench:webhooks -- --kills ${kills}`, {
      database,
      size,
      ...rest,
      p95MsWithKills: stormP95Ms,
      verdicts: { everyEventAtEveryHealthyEndpoint: true, oneIdEach: true, inOrderOfEachChat: true },
    })
  } else {
    report('webhooks', 'npm run bench:webhooks', {
      database,
      size,
      ...rest,
      healthyP95Ms: calmP95Ms,
      healthyP99Ms: calmP99Ms,
      memory,
      growthMb: growthOf(memory.map(({ rssMb }) => rssMb)),
      liveGrowthMb: growthOf(memory.map(({ liveMb }) => liveMb)),
      verdicts: {
        healthyP95UnderASecond: (calmP95Ms ?? Infinity) < 1000,
        memoryFlat: growthOf(memory.map(({ rssMb }) => rssMb)) <= 8,
      },
    })
  }
} finally {
  await scope.close()
}

/** From the median of the second third to that of the last: in the first the program itself is still warming up. */
function growthOf(values: readonly number[]): number {
  const third = Math.floor(values.length / 3)
  const median = (some: readonly number[]): number =>
    some.toSorted((a, b) => a - b)[Math.floor(some.length / 2)] ?? 0
  return median(values.slice(-third)) - median(values.slice(third, 2 * third))
}
