import type { Command } from 'commander'
import { callFor, listOf, shown, tenantPath } from './conversations.ts'
import type { ClientCommands } from './client-commands.ts'

type Answer = Readonly<Record<string, unknown>>

interface PageFlags {
  readonly after?: string
  readonly before?: string
  readonly limit?: string
}
interface InputFlags {
  readonly types?: string
  readonly instance?: string
  readonly description?: string
}
interface ReplayFlags {
  readonly event?: string
  readonly after?: string
  readonly until?: string
  readonly since?: string
  readonly dead?: boolean
}

/** `eclusa webhooks`: where events are sent, and what came of it. */
export function addWebhooks<Flags extends object>(root: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  const webhooks = root.command('webhooks').description('endpoints that events are sent to')
  const tenantFlag = ['--tenant <tenant>', 'whose', 'main'] as const
  const typesFlag = [
    '--types <types>',
    'types or groups, divided by commas: "outbound.*,inbound.received"',
  ] as const

  client(webhooks.command('list').description('the endpoints of a tenant'))
    .option(...tenantFlag)
    .action((flags: Flags & { readonly tenant: string }) =>
      listOf(askedBy(flags), tenantPath(flags.tenant, 'webhooks'), {}, webhookLine),
    )
  client(
    webhooks.command('create').description('send events to a URL from now on; shows the signing secret once'),
  )
    .argument('<url>')
    .option(...tenantFlag)
    .option(typesFlag[0], typesFlag[1], '*')
    .option('--instance <instance>', 'events of this instance only')
    .option('--description <text>', 'what it is for')
    .action((url: string, flags: Flags & InputFlags & { readonly tenant: string }) =>
      callFor(
        askedBy(flags),
        'POST',
        tenantPath(flags.tenant, 'webhooks'),
        { url, ...inputOf(flags) },
        (made) => `${shown(made['id'])}\nsecret, shown only now: ${shown(made['secret'])}`,
      ),
    )
  client(webhooks.command('show').description('what is set, and how it does'))
    .argument('<webhook>')
    .action((id: string, flags: Flags) =>
      callFor(askedBy(flags), 'GET', webhookPath(id), undefined, fullLines),
    )
  client(webhooks.command('change').description('change what is named'))
    .argument('<webhook>')
    .option('--to <url>', 'where events are sent')
    .option(...typesFlag)
    .option('--instance <instance>', 'events of this instance only; "all" for all')
    .option('--description <text>', 'what it is for')
    .action((id: string, flags: Flags & InputFlags & { readonly to?: string }) =>
      callFor(
        askedBy(flags),
        'PATCH',
        webhookPath(id),
        { ...(flags.to === undefined ? {} : { url: flags.to }), ...inputOf(flags) },
        webhookLine,
      ),
    )
  client(webhooks.command('enable').description('go on where it stopped, as far as the log still has it'))
    .argument('<webhook>')
    .option('--from-now', 'leave out what happened before')
    .action((id: string, flags: Flags & { readonly fromNow?: boolean }) =>
      callFor(
        askedBy(flags),
        'PATCH',
        webhookPath(id),
        { enabled: true, ...(flags.fromNow === true ? { fromNow: true } : {}) },
        webhookLine,
      ),
    )
  client(webhooks.command('disable').description('send nothing until it is enabled'))
    .argument('<webhook>')
    .action((id: string, flags: Flags) =>
      callFor(askedBy(flags), 'PATCH', webhookPath(id), { enabled: false }, webhookLine),
    )
  client(webhooks.command('remove').description('delete it, with all that waits for it'))
    .argument('<webhook>')
    .action((id: string, flags: Flags) =>
      callFor(askedBy(flags), 'DELETE', webhookPath(id), undefined, () => 'removed'),
    )
  client(webhooks.command('rotate').description('a new signing secret, shown once'))
    .argument('<webhook>')
    .option('--overlap-hours <hours>', 'how long the secret before signs too', '24')
    .action((id: string, flags: Flags & { readonly overlapHours: string }) =>
      callFor(
        askedBy(flags),
        'POST',
        webhookPath(id, 'rotate'),
        { overlapHours: Number(flags.overlapHours) },
        (made) =>
          `secret, shown only now: ${shown(made['secret'])}\nthe one before signs too until ${shown(made['oldSecretUntil']) || 'now'}`,
      ),
    )
  client(webhooks.command('test').description('send one test event now'))
    .argument('<webhook>')
    .action((id: string, flags: Flags) =>
      callFor(askedBy(flags), 'POST', webhookPath(id, 'test'), undefined, (made) =>
        made['delivered'] === true
          ? `delivered: ${shown(made['status'])} in ${shown(made['tookMs'])} ms`
          : `not delivered: ${shown(made['status'])} ${shown(made['error'])}`,
      ),
    )
  client(
    webhooks
      .command('replay')
      .description('send events again: one, those between two, since a time, or the dead'),
  )
    .argument('<webhook>')
    .option('--event <id>', 'this one')
    .option('--after <id>', 'those after this one')
    .option('--until <id>', 'up to this one')
    .option('--since <time>', 'since a time such as 2026-11-28T18:00:00Z')
    .option('--dead', 'all that were given up')
    .action((id: string, flags: Flags & ReplayFlags) =>
      callFor(askedBy(flags), 'POST', webhookPath(id, 'replay'), replayOf(flags), (made) =>
        made['complete'] === true
          ? `${shown(made['count'])} events are sent again`
          : `${shown(made['count'])} events are sent again; go on with --after ${shown(made['lastEvent'])}`,
      ),
    )
  for (const [verb, description, lineOf] of [
    ['deliveries', 'what was tried, newest first', deliveryLine],
    ['waiting', 'events that wait for another try', waitingLine],
    ['dead', 'events that were given up', waitingLine],
  ] as const) {
    const cursor = verb === 'deliveries' ? '--before <cursor>' : '--after <cursor>'
    client(webhooks.command(verb).description(description))
      .argument('<webhook>')
      .option(cursor, 'go on after the page before')
      .option('--limit <count>', 'at most so many, 1 to 500')
      .action((id: string, flags: Flags & PageFlags) => {
        const { after, before, limit } = flags
        return listOf(askedBy(flags), webhookPath(id, verb), { after, before, limit }, lineOf)
      })
  }
}

function webhookPath(id: string, ...parts: readonly string[]): string {
  return ['/v1/webhooks', ...[id, ...parts].map(encodeURIComponent)].join('/')
}

function inputOf({ types, instance, description }: InputFlags): object {
  return {
    ...(types === undefined ? {} : { types: types.split(',').map((type) => type.trim()) }),
    ...(instance === undefined ? {} : { instance: instance === 'all' ? null : instance }),
    ...(description === undefined ? {} : { description }),
  }
}

function replayOf({ event, after, until, since, dead }: ReplayFlags): object {
  return {
    ...(event === undefined ? {} : { event: Number(event) }),
    ...(after === undefined ? {} : { after: Number(after) }),
    ...(until === undefined ? {} : { until: Number(until) }),
    ...(since === undefined ? {} : { since }),
    ...(dead === true ? { dead: true } : {}),
  }
}

function webhookLine(webhook: Answer): string {
  const { id, url, types, instance, description, enabled, disabledReason } = webhook
  const state = enabled === true ? 'enabled' : `disabled (${shown(disabledReason)})`
  return [id, state, url, (types as readonly string[]).join(','), instance ?? '', description]
    .map(shown)
    .filter((text) => text !== '')
    .join('  ')
}

function fullLines(webhook: Answer): string {
  const health = Object.entries(webhook['health'] as Answer)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : shown(value)}`)
  return [webhookLine(webhook), ...health].join('\n')
}

function deliveryLine(delivery: Answer): string {
  const { id, at, event, type, attempt, delivered, status, error, tookMs } = delivery
  const what = delivered === true ? 'delivered' : `failed ${shown(error)}`
  return [id, at, event ?? 'test', type, `try ${shown(attempt)}`, what, status ?? '', `${shown(tookMs)} ms`]
    .map(shown)
    .filter((text) => text !== '')
    .join('  ')
}

function waitingLine(waiting: Answer): string {
  const { event, type, attempts, dueAt, deadAt, error } = waiting
  const when =
    deadAt === undefined
      ? dueAt === null
        ? 'behind another'
        : `due ${shown(dueAt)}`
      : `dead since ${shown(deadAt)}`
  return [event, type, `${shown(attempts)} tries`, when, error ?? '']
    .map(shown)
    .filter((text) => text !== '')
    .join('  ')
}
