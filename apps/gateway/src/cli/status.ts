import { columns } from '../columns.ts'
import type { ApiClient } from './api-client.ts'

/** Lists the instances and how they are. */
export async function status(options: { readonly api: ApiClient; readonly json: boolean }): Promise<void> {
  const { api, json } = options
  const ready = await api.ready()
  const instances = await api.listInstances()
  if (json) {
    process.stdout.write(`${JSON.stringify({ url: api.url, ready, instances })}\n`)
    return
  }
  const rows = instances.map((one) => [
    one.id,
    `${one.tenant}${one.simulated ? ' (simulated)' : ''}`,
    one.name,
    one.state,
    one.number ?? '',
    one.reason?.message ?? '',
  ])
  const lines = [
    `Gateway at ${api.url}: ${ready ? 'ready' : 'cannot store anything just now'}`,
    ...(rows.length === 0
      ? ['No instances yet: link a number with "npm run eclusa -- pair"']
      : columns([['INSTANCE', 'TENANT', 'NAME', 'STATE', 'NUMBER', ''], ...rows])),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
