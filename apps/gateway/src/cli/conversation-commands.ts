import type { Command } from 'commander'
import type { ClientCommands } from './client-commands.ts'
import {
  callFor,
  conversationLine,
  conversationPath,
  entryLine,
  listOf,
  operatorLine,
  sectorLine,
  sectorsOf,
  shown,
  tenantPath,
} from './conversations.ts'

type Text = string | undefined
type TextFlags = Readonly<Record<string, Text>>

const tenantFlag = ['--tenant <tenant>', 'whose they are', 'main'] as const

/** `eclusa conversations`, `eclusa sectors`, `eclusa operators`. */
export function addConversations<Flags extends object>(root: Command, how: ClientCommands<Flags>): void {
  addConversation(root.command('conversations').description('conversations with contacts'), how)
  addSectors(root.command('sectors').description('departments, and who waits in them'), how)
  addOperators(root.command('operators').description('people who answer'), how)
}

function addConversation<Flags extends object>(command: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  client(command.command('list').description('conversations, newest first'))
    .option(...tenantFlag)
    .option('--state <state>', 'open, assigned or closed')
    .option('--sector <sector>', 'of this sector')
    .option('--operator <operator>', 'of this operator')
    .option('--contact <contact>', 'of this contact')
    .option('--before <cursor>', 'go on after the page before')
    .option('--limit <count>', 'at most so many, 1 to 500')
    .action((flags: Flags & TextFlags & { readonly tenant: string }) =>
      listOf(
        askedBy(flags),
        tenantPath(flags.tenant, 'conversations'),
        picked(flags, ['state', 'sector', 'operator', 'contact', 'before', 'limit']),
        conversationLine,
      ),
    )
  client(command.command('show').description('one, and its place in the line'))
    .argument('<conversation>')
    .action((id: string, flags: Flags) =>
      callFor(askedBy(flags), 'GET', conversationPath(id), undefined, (one) =>
        one['position'] === null
          ? conversationLine(one)
          : `${conversationLine(one)}  before it: ${shown(one['position'])}`,
      ),
    )
  client(command.command('history').description('everything that happened, oldest first'))
    .argument('<conversation>')
    .option('--after <cursor>', 'go on after the page before')
    .option('--limit <count>', 'at most so many, 1 to 100')
    .action((id: string, flags: Flags & TextFlags) =>
      listOf(askedBy(flags), conversationPath(id, 'history'), picked(flags, ['after', 'limit']), entryLine),
    )
  for (const [verb, description] of [
    ['answer', 'send a text to the contact'],
    ['note', 'add words to the history'],
  ] as const) {
    client(command.command(verb).description(description))
      .argument('<conversation>')
      .argument('<text...>')
      .option('--by <operator>', 'who says it')
      .action((id: string, words: readonly string[], flags: Flags & TextFlags) =>
        callFor(
          askedBy(flags),
          'POST',
          conversationPath(id, verb === 'answer' ? 'messages' : 'notes'),
          { text: words.join(' '), ...picked(flags, ['by']) },
          (answer) => (verb === 'answer' ? `${shown(answer['id'])}  ${shown(answer['state'])}` : 'noted'),
        ),
      )
  }
  const moves = [
    ['wait', 'to the end of a line', ['sector', 'skill']],
    ['transfer', 'to an operator, or to the end of a line', ['operator', 'sector', 'skill']],
    ['assign', 'to an operator', ['operator']],
    ['return', 'to where it stood in its line', []],
    ['close', 'end it', ['reason']],
    ['reopen', 'go on with it', []],
  ] as const
  for (const [verb, description, options] of moves) {
    const move = client(command.command(verb).description(description)).argument('<conversation>')
    for (const name of options) move.option(`--${name} <${name}>`)
    move
      .option('--by <operator>', 'who does it')
      .option('--comment <text>', 'for the history')
      .action((id: string, flags: Flags & TextFlags) =>
        callFor(
          askedBy(flags),
          'POST',
          conversationPath(id, verb),
          picked(flags, [...options, 'by', 'comment']),
          conversationLine,
        ),
      )
  }
}

function addSectors<Flags extends object>(command: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  type OfTenant = Flags & TextFlags & { readonly tenant: string; readonly default?: boolean }
  client(command.command('list').description('sectors, and how their lines stand'))
    .option(...tenantFlag)
    .action((flags: OfTenant) => listOf(askedBy(flags), tenantPath(flags.tenant, 'sectors'), {}, sectorLine))
  client(command.command('line').description('who waits, the first first'))
    .argument('<sector>')
    .option(...tenantFlag)
    .option('--after <cursor>', 'go on after the page before')
    .action((sector: string, flags: OfTenant) =>
      listOf(
        askedBy(flags),
        tenantPath(flags.tenant, 'sectors', sector, 'line'),
        picked(flags, ['after']),
        conversationLine,
      ),
    )
  for (const verb of ['add', 'set'] as const) {
    client(command.command(verb).description(verb === 'add' ? 'make a sector' : 'change a sector'))
      .argument('<sector>')
      .option(...tenantFlag)
      .option('--name <name>', 'for people')
      .option('--rule <rule>', 'least_busy, round_robin, random or manual')
      .option('--default', 'where conversations go that name no sector')
      .action((sector: string, flags: OfTenant) => {
        const body = {
          ...picked(flags, ['name', 'rule']),
          ...(flags.default === true ? { isDefault: true } : {}),
        }
        return verb === 'add'
          ? callFor(
              askedBy(flags),
              'POST',
              tenantPath(flags.tenant, 'sectors'),
              { name: sector, ...body, id: sector },
              sectorLine,
            )
          : callFor(askedBy(flags), 'PATCH', tenantPath(flags.tenant, 'sectors', sector), body, sectorLine)
      })
  }
  client(command.command('remove').description('take a sector away in which nobody is'))
    .argument('<sector>')
    .option(...tenantFlag)
    .action((sector: string, flags: OfTenant) =>
      callFor(
        askedBy(flags),
        'DELETE',
        tenantPath(flags.tenant, 'sectors', sector),
        undefined,
        () => 'removed',
      ),
    )
}

function addOperators<Flags extends object>(command: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  type OfTenant = Flags & TextFlags & { readonly tenant: string; readonly admin?: boolean }
  const bodyOf = (flags: OfTenant): object => ({
    ...picked(flags, ['name', 'availability']),
    ...(flags['capacity'] === undefined ? {} : { capacity: Number(flags['capacity']) }),
    ...(flags['sectors'] === undefined ? {} : { sectors: sectorsOf(flags['sectors']) }),
    ...(flags.admin === undefined ? {} : { isAdmin: flags.admin }),
  })
  client(command.command('list').description('operators, and what they have'))
    .option(...tenantFlag)
    .action((flags: OfTenant) =>
      listOf(askedBy(flags), tenantPath(flags.tenant, 'operators'), {}, operatorLine),
    )
  client(command.command('add').description('make an operator, offline at first'))
    .argument('<name>')
    .option(...tenantFlag)
    .option('--capacity <count>', 'conversations at a time')
    .option('--sectors <list>', 'where they answer, with skills: sales,support:english+money')
    .option('--admin', 'may answer for others')
    .action((name: string, flags: OfTenant) =>
      callFor(
        askedBy(flags),
        'POST',
        tenantPath(flags.tenant, 'operators'),
        { ...bodyOf(flags), name },
        operatorLine,
      ),
    )
  client(command.command('set').description('change an operator'))
    .argument('<operator>')
    .option(...tenantFlag)
    .option('--name <name>')
    .option('--availability <availability>', 'online, away or offline')
    .option('--capacity <count>', 'conversations at a time')
    .option('--sectors <list>', 'where they answer, with skills: sales,support:english+money')
    .option('--admin', 'may answer for others')
    .option('--no-admin')
    .action((id: string, flags: OfTenant) =>
      callFor(
        askedBy(flags),
        'PATCH',
        tenantPath(flags.tenant, 'operators', id),
        bodyOf(flags),
        operatorLine,
      ),
    )
  client(command.command('return-all').description('give all they have back to the lines'))
    .argument('<operator>')
    .option(...tenantFlag)
    .action((id: string, flags: OfTenant) =>
      callFor(
        askedBy(flags),
        'POST',
        tenantPath(flags.tenant, 'operators', id, 'return-all'),
        {},
        (answer) => `returned ${shown(answer['returned'])}; the operator is away now`,
      ),
    )
  client(command.command('remove').description('give all they have back to the lines, and take them away'))
    .argument('<operator>')
    .option(...tenantFlag)
    .action((id: string, flags: OfTenant) =>
      callFor(
        askedBy(flags),
        'DELETE',
        tenantPath(flags.tenant, 'operators', id),
        undefined,
        () => 'removed',
      ),
    )
}

/** Those of the flags that were given. */
function picked(flags: object, names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(flags).filter(
      (pair): pair is [string, string] => names.includes(pair[0]) && typeof pair[1] === 'string',
    ),
  )
}
