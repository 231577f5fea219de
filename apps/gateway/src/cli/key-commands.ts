import { type Command, InvalidArgumentError } from 'commander'
import { callFor, listOf, shown } from './conversations.ts'
import type { ClientCommands } from './client-commands.ts'

type Fields = Readonly<Record<string, unknown>>

interface MakeFlags {
  readonly tenant?: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly instances?: readonly string[]
  readonly addresses?: readonly string[]
  readonly expires?: string
}

/** `eclusa keys` and `eclusa audit`: who may do what, and who did. */
export function addKeys<Flags extends object>(root: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  const keys = root.command('keys').description('who may use the API')
  client(keys.command('list').description('all keys that yours may see'))
    .option('--tenant <tenant>', 'of this tenant')
    .action((flags: Flags & { readonly tenant?: string }) =>
      listOf(askedBy(flags), pathOf(flags.tenant, 'keys'), {}, keyLine),
    )
  client(keys.command('create').description('make a key; it is shown this once'))
    .option('--tenant <tenant>', 'for this tenant (default: as far as your own key reaches)')
    .requiredOption('--name <name>', 'what it is for')
    .requiredOption(
      '--scopes <scopes>',
      'what it may do: read,send,control,queue,flow,settings,app,erase,admin',
      listIn,
    )
    .option('--instances <instances>', 'the only instances it is for, with commas', listIn)
    .option('--addresses <addresses>', 'the only addresses it may be used from: 10.0.0.0/8,192.0.2.7', listIn)
    .option('--expires <time>', 'when it ends, as 2027-01-31T00:00:00-03:00')
    .action((flags: Flags & MakeFlags) => {
      const { name, scopes, instances, addresses, expires } = flags
      const body = {
        name,
        scopes,
        ...(instances === undefined ? {} : { instances }),
        ...(addresses === undefined ? {} : { addresses }),
        ...(expires === undefined ? {} : { expiresAt: expires }),
      }
      return callFor(askedBy(flags), 'POST', pathOf(flags.tenant, 'keys'), body, freshLines)
    })
  client(keys.command('rotate').description('make another key with the same rights; the old one ends later'))
    .argument('<key>', 'its id')
    .option('--overlap <minutes>', 'how long the old one still works', minutesIn, 24 * 60)
    .action((key: string, flags: Flags & { readonly overlap: number }) =>
      callFor(
        askedBy(flags),
        'POST',
        `/v1/keys/${encodeURIComponent(key)}/rotate`,
        { overlapMs: flags.overlap * 60_000 },
        (answer) => `${freshLines(answer)}\n${key} works until ${shown(answer['oldEndsAt'])}`,
      ),
    )
  client(keys.command('revoke').description('end a key now'))
    .argument('<key>', 'its id')
    .action((key: string, flags: Flags) =>
      callFor(
        askedBy(flags),
        'DELETE',
        `/v1/keys/${encodeURIComponent(key)}`,
        undefined,
        () => `${key} is no key any more`,
      ),
    )

  const audit = root.command('audit').description('who did what, when, from where')
  client(audit.command('list').description('entries, newest first'))
    .option('--tenant <tenant>', 'about this tenant')
    .option('--before <seq>', 'go on after the page before')
    .option('--limit <count>', 'at most so many, 1 to 500')
    .action(
      (flags: Flags & { readonly tenant?: string; readonly before?: string; readonly limit?: string }) =>
        listOf(
          askedBy(flags),
          pathOf(flags.tenant, 'audit'),
          { before: flags.before, limit: flags.limit },
          auditLine,
        ),
    )
  client(
    audit.command('check').description('whether every entry is as it was written, and none is missing'),
  ).action((flags: Flags) =>
    callFor(askedBy(flags), 'GET', '/v1/audit/check', undefined, ({ entries, brokenAt }) =>
      brokenAt === null
        ? `all ${shown(entries)} entries are as they were written`
        : `entry ${shown(brokenAt)} is not as it was written, or follows one that is missing`,
    ),
  )
}

function pathOf(tenant: string | undefined, what: string): string {
  return tenant === undefined ? `/v1/${what}` : `/v1/tenants/${encodeURIComponent(tenant)}/${what}`
}

function keyLine(key: Fields): string {
  const { id, tenant, name, scopes, expiresAt, lastUsedAt, instances, addresses } = key
  return [
    id,
    tenant ?? '(operator)',
    name === '' ? '(no name)' : name,
    (scopes as readonly string[]).join(','),
    lastUsedAt === null ? 'never used' : `used ${shown(lastUsedAt)}`,
    ...(expiresAt === null ? [] : [`ends ${shown(expiresAt)}`]),
    ...(instances === null ? [] : [`for ${(instances as readonly string[]).join(',')}`]),
    ...(addresses === null ? [] : [`from ${(addresses as readonly string[]).join(',')}`]),
  ]
    .map(shown)
    .join('  ')
}

function freshLines(made: Fields): string {
  return `${keyLine(made)}\n${shown(made['key'])}\nThis is the only time it is shown.`
}

function auditLine(entry: Fields): string {
  const { seq, at, tenant, key, person, action, outcome, object, after } = entry
  const code = outcome === 'failed' ? (after as Fields | null)?.['code'] : undefined
  const ids = Object.values(object as Fields).map(shown)
  return [
    seq,
    at,
    tenant,
    person ?? key,
    action,
    ...ids,
    ...(outcome === 'failed' ? [`failed: ${shown(code)}`] : []),
  ]
    .map(shown)
    .join('  ')
}

function listIn(text: string): readonly string[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')
}

function minutesIn(text: string): number {
  const minutes = Number(text)
  if (!(minutes >= 0 && minutes <= 43_200)) throw new InvalidArgumentError('It must be 0 to 43200 minutes.')
  return minutes
}
