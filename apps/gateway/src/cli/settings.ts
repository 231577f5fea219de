import { CliError } from './api-client.ts'
import type { QueueCommand } from './queue.ts'

/** Pacing or limits, of a tenant or of one instance. */
export interface SettingsOf {
  readonly kind: 'pacing' | 'limits'
  readonly tenant?: string
  readonly instance?: string
}

type Fields = Readonly<Record<string, unknown>>

/** What is set of its own, and for an instance also what counts. */
export async function showSettings({ api, json }: QueueCommand, of: SettingsOf): Promise<void> {
  print(json, await api.call('GET', pathOf(of)))
}

/** Changes the fields that are named; the others of its own stay. */
export async function setSettings(
  { api, json }: QueueCommand,
  of: SettingsOf,
  pairs: readonly string[],
): Promise<void> {
  const changes = Object.fromEntries(pairs.map(fieldOf))
  const before = (await api.call('GET', pathOf(of))) as Fields
  print(json, await api.call('PUT', pathOf(of), { ...ownOf(before), ...changes }))
}

/** As everybody's again. */
export async function resetSettings({ api, json }: QueueCommand, of: SettingsOf): Promise<void> {
  print(json, await api.call('DELETE', pathOf(of)))
}

/**
 * `thinkingMs=2000-8000`, `conversation=6000/5`, `quietHours=20:00-08:00`, `holidays=12-25,2027-03-26` (`holidays=` for
 * none), `enabled=true`, `maxTypingMs=30000`.
 * The gateway judges whether there is such a field, and the value.
 */
export function fieldOf(pair: string): [string, unknown] {
  const at = pair.indexOf('=')
  if (at < 1) throw new CliError(`"${pair}" is not a field with a value, such as maxTypingMs=20000`)
  const [name, text] = [pair.slice(0, at), pair.slice(at + 1)]
  if (name === 'holidays') return [name, text.split(',').filter((day) => day !== '')]
  return [name, valueOf(text)]
}

function valueOf(text: string): unknown {
  const [, min, max] = /^([\d.]+)-([\d.]+)$/.exec(text) ?? []
  if (min !== undefined && max !== undefined) return { min: Number(min), max: Number(max) }
  const [, everyMs, burst] = /^(\d+)\/(\d+)$/.exec(text) ?? []
  if (everyMs !== undefined && burst !== undefined) return { everyMs: Number(everyMs), burst: Number(burst) }
  const [, from, to] = /^(\d\d:\d\d)-(\d\d:\d\d)$/.exec(text) ?? []
  if (from !== undefined && to !== undefined) return { from, to }
  if (text === 'true' || text === 'false') return text === 'true'
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

function pathOf({ kind, tenant, instance = '' }: SettingsOf): string {
  const who =
    tenant === undefined
      ? `instances/${encodeURIComponent(instance)}`
      : `tenants/${encodeURIComponent(tenant)}`
  return `/v1/${who}/${kind}`
}

function ownOf(answer: Fields): Fields {
  return 'own' in answer ? (answer['own'] as Fields) : answer
}

function print(json: boolean, answer: unknown): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    return
  }
  const fields = answer as Fields
  const isOfInstance = 'own' in fields
  const own = ownOf(fields)
  const shown = isOfInstance ? (fields['effective'] as Fields) : own
  const lines = Object.entries(shown).map(
    ([name, value]) => `${name}: ${spoken(value)}${isOfInstance && name in own ? '  (its own)' : ''}`,
  )
  process.stdout.write(`${(lines.length === 0 ? ['nothing of its own'] : lines).join('\n')}\n`)
}

/** As `set` takes it. */
function spoken(value: unknown): string {
  if (Array.isArray(value)) return value.join(',')
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.values(value).join('everyMs' in value ? '/' : '-')
}
