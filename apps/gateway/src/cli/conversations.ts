import type { QueueCommand } from './queue.ts'

type Answer = Readonly<Record<string, unknown>>

/** Where the commands of a tenant begin. */
export function tenantPath(tenant: string, ...parts: readonly string[]): string {
  return ['/v1/tenants', ...[tenant, ...parts].map(encodeURIComponent)].join('/')
}

export function conversationPath(id: string, ...parts: readonly string[]): string {
  return ['/v1/conversations', ...[id, ...parts].map(encodeURIComponent)].join('/')
}

/** A page of things, a line each. */
export async function listOf(
  { api, json }: QueueCommand,
  path: string,
  query: Readonly<Record<string, string | undefined>>,
  lineOf: (item: Answer) => string,
): Promise<void> {
  const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const page = (await api.call('GET', `${path}?${new URLSearchParams(given).toString()}`)) as {
    readonly items: readonly Answer[]
    readonly next?: number | null
  }
  const more = page.next === undefined || page.next === null ? [] : [`go on with ${page.next}`]
  print(json, page, [...page.items.map(lineOf), ...more])
}

/** One call, and its answer in a line. */
export async function callFor(
  { api, json }: QueueCommand,
  method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE',
  path: string,
  body: object | undefined,
  lineOf: (answer: Answer) => string,
): Promise<void> {
  const answer = ((await api.call(method, path, body)) ?? {}) as Answer
  print(json, answer, [lineOf(answer)])
}

export function conversationLine(one: Answer): string {
  const since = shown(one['waitingSince'])
  const who = shown(one['operator']) || (since === '' ? '' : `waits since ${since}`)
  return columns(one['id'], shown(one['state']).padEnd(8), shown(one['sector']) || '-', who, one['chat'])
}

export function entryLine(entry: Answer): string {
  const inbound = entry['inbound'] as Answer | null
  const words = shown(entry['text']) || shown(inbound?.['text'])
  const where = columns(entry['sector'], entry['operator'])
  return columns(entry['at'], shown(entry['kind']).padEnd(11), entry['actor'], where, words)
}

function columns(...values: readonly unknown[]): string {
  return values
    .map(shown)
    .filter((text) => text !== '')
    .join('  ')
    .trimEnd()
}

export function sectorLine(sector: Answer): string {
  const since = sector['waitingSince'] === null ? '' : `, the first since ${shown(sector['waitingSince'])}`
  const mark = sector['isDefault'] === true ? ' (default)' : ''
  return (
    `${shown(sector['id'])}${mark}  ${shown(sector['name'])}  ${shown(sector['rule'])}  ` +
    `waiting ${shown(sector['waitingCount'])}${since}  assigned ${shown(sector['assignedCount'])}`
  )
}

export function operatorLine(operator: Answer): string {
  const sectors = (
    operator['sectors'] as readonly { readonly sector: string; readonly skills: readonly string[] }[]
  )
    .map(({ sector, skills }) => (skills.length === 0 ? sector : `${sector}:${skills.join('+')}`))
    .join(',')
  return (
    `${shown(operator['id'])}  ${shown(operator['name'])}  ${shown(operator['availability'])}  ` +
    `${shown(operator['assignedCount'])}/${shown(operator['capacity'])}  ${sectors}`
  ).trimEnd()
}

/** `sales,support:english+money`: sectors, each with its skills. */
export function sectorsOf(
  text: string,
): readonly { readonly sector: string; readonly skills: readonly string[] }[] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .map((part) => {
      const [sector = '', skills = ''] = part.split(':')
      return { sector, skills: skills.split('+').filter((skill) => skill !== '') }
    })
}

/** A text or a number of an answer. */
export function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? `${value}` : ''
}

function print(json: boolean, answer: unknown, lines: readonly string[]): void {
  process.stdout.write(json ? `${JSON.stringify(answer)}\n` : `${lines.join('\n')}\n`)
}
