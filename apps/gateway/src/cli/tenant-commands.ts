import type { Command } from 'commander'
import { CliError } from './api-client.ts'
import { callFor, listOf, shown } from './conversations.ts'
import type { ClientCommands } from './client-commands.ts'
import { fieldOf } from './settings.ts'

type Fields = Readonly<Record<string, unknown>>

/** `eclusa tenants`: the customer companies, and what each may have. */
export function addTenants<Flags extends object>(root: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  const tenants = root.command('tenants').description('customer companies, and what each may have')
  const quotaHelp =
    '\nQuotas: instances=5 sends=3000/20 (one each 3000 ms, 20 at once) apiPerSecond=50 apiBurst=100 memoryWeight=2 mediaBytes=1000000000; none: as for everybody'
  client(tenants.command('list').description('all of them, by id'))
    .option('--after <tenant>', 'go on after the page before')
    .action((flags: Flags & { readonly after?: string }) =>
      listOf(askedBy(flags), '/v1/tenants', { after: flags.after }, tenantLine),
    )
  client(tenants.command('show').description('one of them'))
    .argument('<tenant>')
    .action((tenant: string, flags: Flags) =>
      callFor(askedBy(flags), 'GET', pathOf(tenant), undefined, tenantLine),
    )
  client(tenants.command('create').description('make one'))
    .argument(
      '<tenant>',
      'its id: lower-case letters, digits, "-" and "_"; never used again once it is deleted',
    )
    .argument('[quotas...]', 'quota=value')
    .option('--name <name>', 'what to call it')
    .addHelpText('after', quotaHelp)
    .action((tenant: string, quotas: readonly string[], flags: Flags & { readonly name?: string }) =>
      callFor(
        askedBy(flags),
        'POST',
        '/v1/tenants',
        { id: tenant, ...bodyOf(quotas, flags.name) },
        tenantLine,
      ),
    )
  client(tenants.command('set').description('change quotas or the name; the others stay'))
    .argument('<tenant>')
    .argument('[quotas...]', 'quota=value')
    .option('--name <name>', 'what to call it')
    .addHelpText('after', quotaHelp)
    .action((tenant: string, quotas: readonly string[], flags: Flags & { readonly name?: string }) =>
      callFor(askedBy(flags), 'PATCH', pathOf(tenant), bodyOf(quotas, flags.name), tenantLine),
    )
  for (const [verb, description] of [
    ['suspend', 'its sessions rest, nothing is accepted, its keys are refused'],
    ['resume', 'end that'],
  ] as const) {
    client(tenants.command(verb).description(description))
      .argument('<tenant>')
      .action((tenant: string, flags: Flags) =>
        callFor(askedBy(flags), 'POST', `${pathOf(tenant)}/${verb}`, undefined, tenantLine),
      )
  }
  client(tenants.command('delete').description('remove it with everything it has, for good'))
    .argument('<tenant>')
    .requiredOption('--yes <tenant>', 'its id once more')
    .action((tenant: string, flags: Flags & { readonly yes: string }) => {
      if (flags.yes !== tenant) throw new CliError(`"${flags.yes}" is not "${tenant}": nothing was deleted`)
      return callFor(askedBy(flags), 'DELETE', pathOf(tenant), undefined, removalLine)
    })
  client(
    tenants.command('removals').description('tenants that were deleted, and what was removed of them'),
  ).action((flags: Flags) => listOf(askedBy(flags), '/v1/tenant-removals', {}, removalLine))
}

function pathOf(tenant: string): string {
  return `/v1/tenants/${encodeURIComponent(tenant)}`
}

function bodyOf(quotas: readonly string[], name: string | undefined): object {
  const given = quotas.map(fieldOf).map(([field, value]) => [field, value === 'none' ? null : value])
  return {
    ...(name === undefined ? {} : { name }),
    ...(given.length === 0 ? {} : { quotas: Object.fromEntries(given) as object }),
  }
}

function tenantLine({ id, name, state, quotas, used }: Fields): string {
  const own = Object.entries(quotas as Fields)
    .filter(([, value]) => value !== null)
    .map(
      ([field, value]) =>
        `${field}=${typeof value === 'object' ? Object.values(value as Fields).join('/') : shown(value)}`,
    )
  return [id, state, name, `instances ${shown((used as Fields)['instances'])}`, ...own].map(shown).join('  ')
}

function removalLine({ id, tenant, begunAt, endedAt, removed }: Fields): string {
  const rows = Object.values(removed as Readonly<Record<string, number>>).reduce(
    (sum, count) => sum + count,
    0,
  )
  const how = endedAt === null ? `since ${shown(begunAt)}` : `done ${shown(endedAt)}`
  return [id, tenant, how, `${rows} rows`].map(shown).join('  ')
}
