import { GIB, KIB, MIB } from '@eclusa/kernel'
import { columns } from '../columns.ts'
import { type Config, loadConfig } from '../config.ts'
import { type GatewayPlan, nodeFlags, planGateway } from './gateway-plan.ts'
import type { PlannedLine } from './memory-plan.ts'

/** `1.5 GiB`, `36 MiB`, `820 KiB`, `700 B`. */
export function sizeText(bytes: number): string {
  if (bytes >= GIB) return `${round(bytes / GIB)} GiB`
  if (bytes >= MIB) return `${round(bytes / MIB)} MiB`
  if (bytes >= KIB) return `${round(bytes / KIB)} KiB`
  return `${bytes} B`
}

/** One line for the log at start: how the ceiling is divided. */
export function planFields(plan: GatewayPlan): Readonly<Record<string, unknown>> {
  return {
    ceiling: sizeText(plan.ceilingBytes),
    of: `${plan.machine.source} ${sizeText(plan.machine.bytes)}`,
    worstCase: sizeText(plan.totalBytes),
    heapLimit: sizeText(plan.oldSpaceBytes),
    caches: sizeText(plan.cacheBytes),
    outsideHeap: sizeText(plan.outsideBytes),
    pageCache: sizeText(plan.limits.pageCacheBytes),
    sessions: plan.sessions,
  }
}

/** The whole table for a terminal. */
export function renderPlan(plan: GatewayPlan): string {
  const parts: [string, string, string][] = [
    [
      'Ceiling',
      sizeText(plan.ceilingBytes),
      `ECLUSA_MEMORY_CEILING, of ${sizeText(plan.machine.bytes)} (${plan.machine.source})`,
    ],
    [
      'Worst case',
      sizeText(plan.totalBytes),
      plan.fits ? 'fits' : 'does not fit: see ECLUSA_MEMORY_WHEN_SHORT',
    ],
    ['  heap', sizeText(plan.oldSpaceBytes), `of which live at most ${sizeText(plan.liveHeapBytes)}`],
    ['    caches', sizeText(plan.cacheBytes), 'one budget for all tenants'],
    ['  young generation', sizeText(3 * plan.semiSpaceBytes), ''],
    ['  outside the heap', sizeText(plan.outsideBytes), ''],
    [
      'Sessions',
      String(plan.sessions),
      plan.sessions < plan.sessionsAsked
        ? `of ${plan.sessionsAsked} that were asked for (ECLUSA_MAX_INSTANCES)`
        : '',
    ],
    ['Node is started with', nodeFlags(plan).join(' '), ''],
  ]
  const counted = plan.lines.filter(({ place }) => place !== 'cache')
  const cached = plan.lines.filter(({ place }) => place === 'cache')
  return [
    ...columns(parts),
    '',
    ...columns([
      ['WORST CASE', 'AT MOST', 'EACH', 'WHERE', 'WHAT', 'BOUNDED BY'],
      ...counted.map((line) => [
        sizeText(line.worstBytes),
        countText(line),
        sizeText(line.bytesEach),
        line.place,
        `${line.owner}: ${line.name}`,
        line.boundedBy,
      ]),
    ]),
    '',
    `Caches share ${sizeText(plan.cacheBytes)}, whatever their caps would allow:`,
    ...columns(
      cached.map((line) => [
        countText(line),
        sizeText(line.bytesEach),
        line.name.replace(/^cache: /, ''),
        line.boundedBy,
      ]),
    ),
  ].join('\n')
}

const EXAMPLE = { ECLUSA_MEMORY_CEILING: '2GiB', ECLUSA_MAX_INSTANCES: '100' }
const LINE_HEAD = ['who', 'what', 'where', 'at most', 'each', 'worst case', 'bounded by', 'size of one']

/** The text of docs/memory.md. */
export function renderMemoryDocs(): string {
  const example = planFor(EXAMPLE, 16 * GIB)
  const rows = [512 * MIB, 768 * MIB, GIB, 2 * GIB, 4 * GIB, 8 * GIB].map((bytes) => {
    const plan = planFor({}, bytes)
    return [
      sizeText(bytes),
      sizeText(plan.ceilingBytes),
      plan.fits ? String(plan.sessions) : 'refused',
      plan.fits ? sizeText(plan.totalBytes) : '',
      plan.fits ? sizeText(plan.oldSpaceBytes) : '',
      plan.fits ? sizeText(plan.cacheBytes) : '',
    ]
  })
  const counted = example.lines.filter(({ place }) => place !== 'cache')
  const cached = example.lines.filter(({ place }) => place === 'cache')
  const names = new Set(example.lines.map(({ name }) => name))
  const onPostgres = planFor(
    { ...EXAMPLE, ECLUSA_DATABASE_URL: 'postgres://localhost/eclusa' },
    16 * GIB,
  ).lines.filter(({ name }) => !names.has(name))
  return [
    '# Memory',
    '',
    'Made from the lines that each package states beside its limits; do not edit (`npm run docs`). `npm run eclusa --',
    'memory` prints the same for your machine and settings.',
    '',
    '## One ceiling',
    '',
    '`ECLUSA_MEMORY_CEILING` is the memory (RSS) that the gateway never passes. Without it: 75 % of what the control group',
    '(container) allows, else of the machine. At start the worst case of every bounded structure is summed. When it does',
    'not fit, start is refused or fewer sessions connect (`ECLUSA_MEMORY_WHEN_SHORT`); when memory is scarce, everything',
    'that is not a session gets smaller limits first. V8 is started with the limits that follow from the sum, because a',
    'heap without one lets garbage pile up to several times what lives.',
    '',
    'With nothing set:',
    '',
    ...markdown([
      ['memory of the machine or container', 'ceiling', 'sessions', 'worst case', 'heap limit', 'caches'],
      ...rows,
    ]),
    '',
    '## Before the ceiling is reached',
    '',
    'A governor looks every 5 s at RSS, at what lives in the heap after a collection, at memory outside of it, each against',
    'its limit, and at how late the event loop is. It rises at once, and falls one level at a time after 30 s clearly below.',
    '',
    ...markdown([
      ['level', 'from', 'what gives way'],
      ['1', '70 %', 'caches keep a half of their budget'],
      ['2', '80 %', 'caches keep a quarter; history syncs and media wait'],
      ['3', '90 %', 'caches keep a tenth; sessions that would connect, and new links, wait'],
      ['busy', '250 ms late', 'history syncs and media wait'],
    ]),
    '',
    'Messages are never held: the queue is on disk. Each step is an event that operators see (`memory.pressed`,',
    '`memory.relieved`, tenant `*`), a warning that names the remedy, and a number in `GET /v1/memory`, which also tells',
    'what is used of each limit. Every 15 min (`ECLUSA_MEMORY_REPORT_EVERY_MS`) the log has a line such as',
    '`queue: 45 messages in 12 chats | cache: 234 contacts`, with megabytes beside it, and warns above 500 messages and above',
    '800 contacts of an instance.',
    '',
    '## How 2 GiB are divided among 100 sessions',
    '',
    ...markdown([
      ['part', 'bytes', ''],
      [
        'heap',
        sizeText(example.oldSpaceBytes),
        `${sizeText(example.liveHeapBytes)} of it may be live, the rest is the collector's`,
      ],
      ['of it caches', sizeText(example.cacheBytes), 'one budget; `ECLUSA_MEMORY_CACHES`'],
      ['young generation', sizeText(3 * example.semiSpaceBytes), 'three semi-spaces'],
      ['outside the heap', sizeText(example.outsideBytes), 'buffers, sockets, SQLite, threads, the program'],
      [
        '**worst case**',
        `**${sizeText(example.totalBytes)}**`,
        `Node is started with \`${nodeFlags(example).join(' ')}\``,
      ],
    ]),
    '',
    '## Every bounded structure',
    '',
    ...markdown([LINE_HEAD, ...counted.map(lineCells)]),
    '',
    '## With PostgreSQL',
    '',
    'The lines of the storage that name SQLite, its thread and its commits give way to these; the server has memory of its',
    'own, which is not counted here.',
    '',
    ...markdown([LINE_HEAD, ...onPostgres.map(lineCells)]),
    '',
    '## Caches',
    '',
    'Their caps alone would allow several times the machine. What they hold is charged to one budget by bytes, shared',
    'among the tenants: nobody falls below a floor, the one furthest above its share gives way first.',
    '',
    ...markdown([
      ['cache', 'entries', 'each', 'cap and life', 'size of one'],
      ...cached.map((line) => [
        line.name.replace(/^cache: /, ''),
        countText(line),
        sizeText(line.bytesEach),
        line.boundedBy,
        line.source,
      ]),
    ]),
    '',
  ].join('\n')
}

function planFor(env: Record<string, string>, machineBytes: number): GatewayPlan {
  const config: Config = loadConfig(env)
  return planGateway(config, { bytes: machineBytes, source: 'machine' })
}

function lineCells(line: PlannedLine): readonly string[] {
  const { owner, name, place, bytesEach, worstBytes, boundedBy, source } = line
  return [owner, name, place, countText(line), sizeText(bytesEach), sizeText(worstBytes), boundedBy, source]
}

function countText({ maxCount, perSession }: PlannedLine): string {
  return perSession === true ? `${maxCount} a session` : String(maxCount)
}

function markdown([head = [], ...rows]: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)]
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toFixed(1)))
}
