import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { EclusaError, GIB, MIB, type MemoryLine, worstCaseOf } from '@eclusa/kernel'
import fc from 'fast-check'
import { loadConfig } from '../src/config.ts'
import { ceilingOf, parseSize, readMachineLimit } from '../src/memory/ceiling.ts'
import { assertFits, nodeFlags, planGateway } from '../src/memory/gateway-plan.ts'
import { MAX_CACHE_BYTES, planMemory } from '../src/memory/memory-plan.ts'
import { renderMemoryDocs, renderPlan, sizeText } from '../src/memory/render-plan.ts'
import { parseWeights } from '../src/memory/tenant-weights.ts'

// —— what an operator writes ——

test('a size is read with its unit, decimal and binary, or as percent', () => {
  const bytesOf = (text: string): number => {
    const parsed = parseSize(text)
    assert.ok('size' in parsed, text)
    return ceilingOf(parsed.size, { bytes: 1000 * GIB, source: 'machine' })
  }
  assert.equal(bytesOf('805306368'), 805_306_368)
  assert.equal(bytesOf('2GiB'), 2 * GIB)
  assert.equal(bytesOf('1.5 GiB'), 1.5 * GIB)
  assert.equal(bytesOf('512m'), 512 * MIB)
  assert.equal(bytesOf('512Mi'), 512 * MIB)
  assert.equal(bytesOf('1500MB'), 1_500_000_000)
  assert.equal(bytesOf('75%'), 750 * GIB)
})

test('a size that is none is refused with what is wrong, by the name of its setting', () => {
  for (const text of ['', 'much', '-1GiB', '2GiBs', '0%', '101%', '1e9', '2 furlong', '٢GiB']) {
    const parsed = parseSize(text)
    assert.ok('fault' in parsed, text)
    if (text === '') continue
    assert.throws(
      () => loadConfig({ ECLUSA_MEMORY_CEILING: text }),
      (error: unknown) => error instanceof EclusaError && error.message.includes('  ECLUSA_MEMORY_CEILING '),
    )
  }
})

test('weights of tenants are read, and slips refused', () => {
  const parsed = parseWeights('acme:2, exatron:0.5')
  assert.deepEqual(parsed, {
    weights: new Map([
      ['acme', 2],
      ['exatron', 0.5],
    ]),
  })
  for (const text of ['acme', 'acme:0', 'acme:-1', 'Acme:1', 'acme:1,acme:2', 'acme:x']) {
    assert.ok('fault' in parseWeights(text), text)
  }
})

// —— what the machine gives ——

/** A file system with these files and nothing else. */
function rootWith(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'eclusa-cgroup-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  return root
}

test('the smallest limit of a control group and its parents counts, in version 2', (t) => {
  const root = rootWith(t, {
    'proc/self/cgroup': '0::/system.slice/eclusa.service\n',
    'sys/fs/cgroup/system.slice/memory.max': '1073741824\n',
    'sys/fs/cgroup/system.slice/eclusa.service/memory.max': 'max\n',
    'sys/fs/cgroup/system.slice/eclusa.service/memory.high': '2147483648\n',
  })
  assert.deepEqual(readMachineLimit({ root, machineBytes: 8 * GIB }), { bytes: GIB, source: 'cgroup v2' })
})

test('in a container with the path of the host, the root of the mount counts, in version 1', (t) => {
  const root = rootWith(t, {
    'proc/self/cgroup': '5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n0::/\n',
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n',
  })
  assert.deepEqual(readMachineLimit({ root, machineBytes: 8 * GIB }), {
    bytes: 512 * MIB,
    source: 'cgroup v1',
  })
})

test('without a limit, or with one above the machine, the machine counts', (t) => {
  const machine = { bytes: 8 * GIB, source: 'machine' }
  for (const files of [
    {},
    { 'proc/self/cgroup': 'nonsense\n' },
    { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/memory.max': 'max\n' },
    { 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/memory.max': 'garbage\n' },
    {
      'proc/self/cgroup': '4:memory:/x\n',
      'sys/fs/cgroup/memory/x/memory.limit_in_bytes': '9223372036854771712\n',
    },
  ]) {
    assert.deepEqual(readMachineLimit({ root: rootWith(t, files), machineBytes: 8 * GIB }), machine)
  }
})

test('a path with dots leads nowhere outside the control groups', (t) => {
  const root = rootWith(t, {
    'proc/self/cgroup': '0::/../../etc\n',
    'sys/fs/cgroup/memory.max': '1073741824\n',
    'etc/memory.max': '1\n',
  })
  assert.equal(readMachineLimit({ root, machineBytes: 8 * GIB }).bytes, GIB)
})

// —— the division ——

const someLine: fc.Arbitrary<MemoryLine> = fc.record({
  owner: fc.constant('test'),
  name: fc.constant('things'),
  place: fc.constantFrom('heap', 'outside', 'cache'),
  maxCount: fc.integer({ min: 0, max: 10_000 }),
  bytesEach: fc.integer({ min: 0, max: 20_000 }),
  perSession: fc.boolean(),
  boundedBy: fc.constant('test'),
  source: fc.constant('test'),
})
const someOptions = fc.record({
  ceilingBytes: fc.integer({ min: 16, max: 8192 }).map((mib) => mib * MIB),
  sessions: fc.integer({ min: 1, max: 2000 }),
  lower: fc.boolean(),
  lines: fc.array(someLine, { maxLength: 12 }),
  cacheBytes: fc.oneof(
    fc.constant(null),
    fc.integer({ min: 0, max: 512 }).map((mib) => mib * MIB),
  ),
  semiSpaceBytes: fc.constantFrom(4 * MIB, 8 * MIB),
})

test('what fits adds up: heap, young generation and the rest stay under the ceiling, and the heap holds what may live', () => {
  fc.assert(
    fc.property(someOptions, (options) => {
      const plan = planMemory(options)
      if (!plan.fits) {
        assert.equal(plan.sessions, 0)
        return
      }
      assert.ok(plan.totalBytes <= plan.ceilingBytes)
      assert.equal(plan.totalBytes, plan.oldSpaceBytes + 3 * plan.semiSpaceBytes + plan.outsideBytes)
      const sum = (place: string): number =>
        plan.lines.filter((line) => line.place === place).reduce((all, line) => all + line.worstBytes, 0)
      assert.equal(plan.liveHeapBytes, sum('heap') + plan.cacheBytes)
      assert.ok(plan.oldSpaceBytes >= plan.liveHeapBytes * 1.3 - MIB)
      assert.ok(plan.outsideBytes >= sum('outside'))
      assert.ok(plan.cacheBytes <= (options.cacheBytes ?? MAX_CACHE_BYTES))
      for (const line of plan.lines) assert.equal(line.worstBytes, worstCaseOf(line, plan.sessions))
    }),
    { numRuns: 500 },
  )
})

test('as many sessions are planned as fit, and not one fewer', () => {
  fc.assert(
    fc.property(someOptions, (options) => {
      const plan = planMemory({ ...options, lower: true })
      assert.ok(plan.sessions <= options.sessions)
      if (plan.sessions === options.sessions) return
      const oneMore = planMemory({ ...options, lower: false, sessions: plan.sessions + 1 })
      assert.equal(oneMore.fits, false)
    }),
    { numRuns: 300 },
  )
})

test('a higher ceiling never means fewer sessions', () => {
  const config = loadConfig({ ECLUSA_MEMORY_CEILING: '100%' })
  let before = 0
  for (let mib = 256; mib <= 4608; mib += 32) {
    const { sessions } = planGateway(config, { bytes: mib * MIB, source: 'machine' })
    assert.ok(sessions >= before, `${sessions} at ${mib} MiB after ${before}`)
    before = sessions
  }
  assert.equal(before, 1000)
})

test('the number of sessions is lowered when nobody asked for it, and refused when somebody did', () => {
  const machine = { bytes: GIB, source: 'machine' } as const
  const nobody = planGateway(loadConfig({}), machine)
  assert.ok(nobody.fits && nobody.sessions > 20 && nobody.sessions < 1000)
  const asked = loadConfig({ ECLUSA_MAX_INSTANCES: '1000' })
  assert.throws(
    () => assertFits(planGateway(asked, machine), asked),
    (error: unknown) => {
      assert.ok(error instanceof EclusaError && error.code === 'GATEWAY_MEMORY_SHORT')
      const [, ceiling] = /raise ECLUSA_MEMORY_CEILING to (\d+MiB)/.exec(error.message) ?? []
      const [, most] = /set ECLUSA_MAX_INSTANCES to (\d+) or less/.exec(error.message) ?? []
      assert.match(error.message, /ECLUSA_MEMORY_WHEN_SHORT=lower/)
      // Each remedy works.
      const big = { bytes: 64 * GIB, source: 'machine' } as const
      for (const [env, where] of [
        [{ ECLUSA_MAX_INSTANCES: '1000', ECLUSA_MEMORY_CEILING: String(ceiling) }, big],
        [{ ECLUSA_MAX_INSTANCES: String(most) }, machine],
        [{ ECLUSA_MAX_INSTANCES: '1000', ECLUSA_MEMORY_WHEN_SHORT: 'lower' }, machine],
      ] as const) {
        const config = loadConfig(env)
        assertFits(planGateway(config, where), config)
      }
      return true
    },
  )
})

test('where not even one session fits, the remedy is the ceiling or what fills it', () => {
  const config = loadConfig({})
  const plan = planGateway(config, { bytes: 256 * MIB, source: 'cgroup v2' })
  assert.throws(
    () => assertFits(plan, config),
    /even one session.*raise ECLUSA_MEMORY_CEILING to \d+MiB \(it is 192MiB, of 256MiB that the cgroup v2 allows\)/,
  )
})

test('a ceiling above the machine is cut to it', () => {
  const config = loadConfig({ ECLUSA_MEMORY_CEILING: '64GiB' })
  assert.equal(planGateway(config, { bytes: 4 * GIB, source: 'machine' }).ceilingBytes, 4 * GIB)
})

test('the flags for Node are the plan in MiB', () => {
  const plan = planGateway(loadConfig({}), { bytes: 4 * GIB, source: 'machine' })
  assert.deepEqual(nodeFlags(plan), [
    `--max-old-space-size=${plan.oldSpaceBytes / MIB}`,
    `--max-semi-space-size=${plan.semiSpaceBytes / MIB}`,
  ])
})

test('the contact cache has its line: 1,000 per instance for 30 min, charged to the budget', () => {
  const { lines } = planGateway(loadConfig({}), { bytes: 4 * GIB, source: 'machine' })
  const [line] = lines.filter(({ name }) => name.includes('contacts that wrote lately'))
  assert.equal(line?.place, 'cache')
  assert.equal(line.maxCount, 1000)
  assert.match(line.boundedBy, /30 min, warning at 800/)
})

test('the table names every line, and sizes are short', () => {
  const plan = planGateway(loadConfig({}), { bytes: 4 * GIB, source: 'machine' })
  const table = renderPlan(plan)
  for (const { name } of plan.lines) assert.ok(table.includes(name.replace(/^cache: /, '')), name)
  assert.deepEqual([700, 820 * 1024, 36.4 * MIB, 1.5 * GIB].map(sizeText), [
    '700 B',
    '820 KiB',
    '36.4 MiB',
    '1.5 GiB',
  ])
})

test('docs/memory.md is what the lines say (npm run docs writes it)', () => {
  const written = readFileSync(new URL('../../../docs/memory.md', import.meta.url), 'utf8')
  assert.equal(written, renderMemoryDocs())
})
