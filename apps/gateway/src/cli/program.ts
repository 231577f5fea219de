import type { DryRunLine } from '@eclusa/flows'
import { EclusaError, systemClock } from '@eclusa/kernel'
import { Command, InvalidArgumentError } from 'commander'
import { type Config, loadConfig } from '../config.ts'
import { standardTerminal, Terminal } from '../terminal.ts'
import { ApiClient, CliError } from './api-client.ts'
import {
  contactAutoReplies,
  contactData,
  contactErase,
  type ContactFlags,
  type ContactsCommand,
  contactsExport,
  contactConfirmations,
  contactDropNote,
  contactNote,
  contactNotes,
  contactSet,
  contactShow,
  contactsImport,
  contactsList,
  contactWords,
} from './contacts.ts'
import { flowLint, flowList, flowPublish, flowTemplate, flowTest } from './flow.ts'
import { addConversations } from './conversation-commands.ts'
import { addInbound } from './inbound-commands.ts'
import { addKeys } from './key-commands.ts'
import { memory } from './memory.ts'
import { pair } from './pair.ts'
import { send } from './send.ts'
import {
  type QueueCommand,
  queueAllowText,
  queueCancelChat,
  queueList,
  queueMessage,
  queuePause,
  queuePausedTexts,
  queueResumeProactive,
  queueRetryFailed,
  queueStats,
  queueWhy,
} from './queue.ts'
import { resetSettings, setSettings, type SettingsOf, showSettings } from './settings.ts'
import { runSimulator } from './simulator.ts'
import { addTenants } from './tenant-commands.ts'
import { start } from './start.ts'
import { status } from './status.ts'
import { addWebhooks } from './webhook-commands.ts'

/** What every command that speaks to the gateway takes. */
interface ClientFlags {
  readonly url?: string
  readonly key?: string
  readonly json?: boolean
}

/** Faults of the settings, not of the moment. */
const REFUSED: ReadonlySet<string> = new Set(['GATEWAY_CONFIG_REFUSED', 'GATEWAY_MEMORY_SHORT'])

/** Runs one command line; sets the exit code: 0 done, 1 failed, 2 wrongly called or configured. */
export async function runCli(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync(argv)
  } catch (error) {
    process.stderr.write(`${sentenceOf(error)}\n`)
    process.exitCode = error instanceof EclusaError && REFUSED.has(error.code) ? 2 : 1
  }
}

export function program(): Command {
  const root = new Command('eclusa')
    .description('Eclusa, a WhatsApp gateway you run yourself. Every command has its own --help.')
    .showHelpAfterError('(add --help for what this command takes)')
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
    .addHelpText(
      'after',
      [
        '',
        'To begin with:',
        '  eclusa start                                   starts the gateway, with a demo to watch, and shows the API key',
        '  eclusa pair --tenant acme --name "Front desk"  links a WhatsApp number: draws the QR code to scan',
        '  eclusa send INSTANCE +5511999990000 "Hello"    sends a text through the queue',
        '',
        'Settings are environment variables, all listed in docs/config.md.',
      ].join('\n'),
    )

  root
    .command('start')
    .description('start the gateway, until Ctrl-C or SIGTERM')
    .action(() => start({ config: loadConfig(), terminal: new Terminal(standardTerminal()) }))

  client(
    root
      .command('pair')
      .description('link a WhatsApp number by QR code, or by a code typed into the phone')
      .argument(
        '[instance]',
        'id of an instance; without it, one is created (or one of that tenant and name used)',
      )
      .option('--tenant <tenant>', 'the company it belongs to', 'main')
      .option('--name <name>', 'what to call the instance', 'WhatsApp')
      .option(
        '--code <number>',
        'pair by a code instead of a QR code; NUMBER is the phone, as +5511999990000',
      )
      .addHelpText(
        'after',
        '\nOn the phone: Settings > Linked devices > Link a device.\nPairing a real number ends the demo.',
      ),
  ).action(
    (instance: string | undefined, flags: ClientFlags & { tenant: string; name: string; code?: string }) =>
      pair({
        api: apiOf(flags),
        terminal: new Terminal(standardTerminal()),
        clock: systemClock,
        json: flags.json === true,
        instance: instance ?? null,
        tenant: flags.tenant,
        name: flags.name,
        number: flags.code ?? null,
      }),
  )

  client(
    root
      .command('send')
      .description('send a text')
      .argument('<instance>', 'id of the instance that sends (see: eclusa status)')
      .argument('<number>', 'who gets it, with the country code: +5511999990000')
      .argument('<text...>', 'what to say')
      .option('--wait <seconds>', 'wait until it is delivered, at most this long', secondsOf)
      .option('--idempotency-key <key>', 'the same key and message again sends nothing'),
  ).action(
    (
      instance: string,
      number: string,
      words: string[],
      flags: ClientFlags & { wait?: number; idempotencyKey?: string },
    ) =>
      send({
        api: apiOf(flags),
        clock: systemClock,
        json: flags.json === true,
        instance,
        to: number.replaceAll(/[\s().-]/g, ''),
        text: words.join(' '),
        waitMs: (flags.wait ?? 0) * 1000,
        ...(flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }),
      }),
  )

  client(root.command('status').description('show the instances and how they are')).action(
    (flags: ClientFlags) => status({ api: apiOf(flags), json: flags.json === true }),
  )

  addQueue(root.command('queue').description('look at the queue, and change what waits in it'))

  addConversations<ClientFlags>(root, { client, askedBy })
  addInbound<ClientFlags>(root, { client, askedBy })
  addTenants<ClientFlags>(root, { client, askedBy })
  addKeys<ClientFlags>(root, { client, askedBy })
  addWebhooks<ClientFlags>(root, { client, askedBy })
  addContacts(root.command('contacts').description('who the people at the other end are'))

  for (const kind of ['pacing', 'limits'] as const) {
    const what = kind === 'pacing' ? 'how human sends look' : 'how much is sent to whom, and when'
    addSettings(root.command(kind).description(`${what}, of a tenant or an instance`), kind)
  }

  addFlow(root.command('flow').description('write, judge, try and publish flows'))

  root
    .command('memory')
    .description('show how the memory ceiling is divided, and the worst case of everything that is held')
    .option('--json', 'answer with JSON, for scripts')
    .action((flags: ClientFlags) => memory({ config: loadConfig(), json: flags.json === true }))

  root
    .command('simulator')
    .description('run the simulator of the WhatsApp server, to develop and test against')
    .argument('[options...]', 'passed on to it; --help shows them')
    .allowUnknownOption()
    .helpOption(false)
    .action((args: string[]) => runSimulator(args))

  return root
}

function addQueue(queue: Command): void {
  client(queue.command('stats').description('how many messages wait, are being sent, and failed'))
    .argument('[instance]', 'more about this one')
    .action((instance: string | undefined, flags: ClientFlags) =>
      queueStats(askedBy(flags), instance ?? null),
    )
  client(queue.command('list').description('messages, newest first'))
    .option('--instance <instance>', 'of this instance')
    .option('--chat <chat>', 'to this number or WhatsApp id')
    .option('--state <state>', 'PENDING, PROCESSING, SENT, DELIVERED, READ, FAILED or CANCELLED')
    .option('--before <message>', 'go on after the page before')
    .option('--limit <count>', 'at most so many, 1 to 500')
    .action(({ url, key, json, ...filter }: ClientFlags & Record<string, string>) => {
      const flags = { ...(url === undefined ? {} : { url }), ...(key === undefined ? {} : { key }) }
      return queueList(askedBy({ ...flags, json: json === true }), filter)
    })
  client(queue.command('why').description('what keeps a message from being sent now'))
    .argument('<message>')
    .action((message: string, flags: ClientFlags) => queueWhy(askedBy(flags), message))
  for (const [verb, description] of [
    ['cancel', 'take a message back that is not on the wire yet'],
    ['now', 'move a message to the head of its chat, due at once'],
    ['retry', 'try a failed message again'],
  ] as const) {
    client(queue.command(verb).description(description))
      .argument('<message>')
      .action((message: string, flags: ClientFlags) => queueMessage(askedBy(flags), verb, message))
  }
  client(
    queue.command('cancel-chat').description('take back everything of a chat that is not on the wire yet'),
  )
    .argument('<instance>')
    .argument('<chat>', 'number or WhatsApp id')
    .action((instance: string, chat: string, flags: ClientFlags) =>
      queueCancelChat(askedBy(flags), instance, chat),
    )
  client(queue.command('retry-failed').description('try everything of an instance that failed again'))
    .argument('<instance>')
    .action((instance: string, flags: ClientFlags) => queueRetryFailed(askedBy(flags), instance))
  client(
    queue
      .command('resume-proactive')
      .description('end that an instance is slowed, because people do not want what it sends'),
  )
    .argument('<instance>')
    .action((instance: string, flags: ClientFlags) => queueResumeProactive(askedBy(flags), instance))
  client(
    queue.command('paused-texts').description('texts that went to too many contacts within an hour'),
  ).action((flags: ClientFlags) => queuePausedTexts(askedBy(flags)))
  client(queue.command('allow-text').description('let one of them go on for 24 hours'))
    .argument('<text>', 'its id')
    .action((text: string, flags: ClientFlags) => queueAllowText(askedBy(flags), text))
  for (const verb of ['pause', 'resume'] as const) {
    client(queue.command(verb).description(`${verb} an instance, one chat of it, or a whole tenant`))
      .argument('[instance]')
      .argument('[chat]', 'number or WhatsApp id')
      .option('--tenant <tenant>', 'all instances of this tenant')
      .action(
        (
          instance: string | undefined,
          chat: string | undefined,
          flags: ClientFlags & { readonly tenant?: string },
        ) => {
          assertNamesOne(instance, flags.tenant)
          return queuePause(askedBy(flags), verb, {
            ...(flags.tenant === undefined ? {} : { tenant: flags.tenant }),
            ...(instance === undefined ? {} : { instance }),
            ...(chat === undefined ? {} : { chat }),
          })
        },
      )
  }
}

function addSettings(command: Command, kind: SettingsOf['kind']): void {
  const of = (instance: string | undefined, { tenant }: { readonly tenant?: string }): SettingsOf => {
    assertNamesOne(instance, tenant)
    return {
      kind,
      ...(tenant === undefined ? {} : { tenant }),
      ...(instance === undefined ? {} : { instance }),
    }
  }
  type Flags = ClientFlags & { readonly tenant?: string }
  const tenantFlag = ['--tenant <tenant>', 'of this tenant, for all its instances'] as const
  client(command.command('show').description('what counts for an instance, or what a tenant has of its own'))
    .argument('[instance]')
    .option(...tenantFlag)
    .action((instance: string | undefined, flags: Flags) => showSettings(askedBy(flags), of(instance, flags)))
  client(command.command('set').description('change fields; the others stay'))
    .argument('<what...>', 'the instance, unless --tenant is given; then fields: field=value')
    .option(...tenantFlag)
    .addHelpText(
      'after',
      `\nValues: ${kind === 'pacing' ? 'thinkingMs=2000-8000 maxTypingMs=30000 enabled=false' : 'conversation=6000/5 (one each 6000 ms, 5 at once) maxNewContactsPerDay=50 quietHours=20:00-08:00'}`,
    )
    .action((what: readonly string[], flags: Flags) => {
      const instance = flags.tenant === undefined ? what[0] : undefined
      return setSettings(askedBy(flags), of(instance, flags), instance === undefined ? what : what.slice(1))
    })
  client(command.command('reset').description('as everybody’s again'))
    .argument('[instance]')
    .option(...tenantFlag)
    .action((instance: string | undefined, flags: Flags) =>
      resetSettings(askedBy(flags), of(instance, flags)),
    )
}

function assertNamesOne(instance: string | undefined, tenant: string | undefined): void {
  if ((instance === undefined) === (tenant === undefined)) {
    throw new CliError('Name an instance, or a tenant with --tenant')
  }
}

function addFlow(flow: Command): void {
  const json = 'answer with JSON, for scripts'
  client(flow.command('list').description('the flows of a tenant'))
    .option('--tenant <tenant>', 'whose', 'main')
    .action((flags: ClientFlags & { readonly tenant: string }) =>
      flowList({ ...askedBy(flags), tenant: flags.tenant }),
    )
  flow
    .command('lint')
    .description(
      'what is wrong with a flow in a file; names of sectors and operators are judged when it is published',
    )
    .argument('<file>')
    .option('--json', json)
    .action((file: string, flags: ClientFlags) => flowLint({ file, json: flags.json === true }))
  client(flow.command('publish').description('put a file as the next version of a flow, and let it serve'))
    .argument('<file>')
    .requiredOption('--name <name>', 'the flow')
    .option('--tenant <tenant>', 'whose', 'main')
    .action((file: string, flags: ClientFlags & { readonly tenant: string; readonly name: string }) =>
      flowPublish({ ...askedBy(flags), file, name: flags.name, tenant: flags.tenant }),
    )
  // In the order in which they stand on the command line.
  const lines: DryRunLine[] = []
  flow
    .command('test')
    .description('try a flow in a file against a contact who says what you say; nothing is sent')
    .argument('<file>')
    .option('--say <words>', 'the contact says this; may be given many times', (say: string) =>
      lines.push({ say }),
    )
    .option('--wait <minutes>', 'time passes', (text: string) => lines.push({ waitMinutes: minutesOf(text) }))
    .option('--at <time>', 'when it begins, as 2026-11-28T09:00:00-03:00 (default: now)', instantOf)
    .option('--contact <name>', 'what the contact is called')
    .option('--tag <tag...>', 'tags of the contact')
    .option('--lookup <file>', 'a file with the JSON that every lookup answers; without it lookups fail')
    .option('--last-operator <name>', 'who answered the contact the day before')
    .option('--owner <name>', 'whose customer the contact is')
    .option('--json', json)
    .addHelpText('after', '\nFor example:\n  eclusa flow test my-flow.json --say "hello" --say 2 --wait 90')
    .action((file: string, flags: FlowTestFlags) =>
      flowTest({
        file,
        lines,
        json: flags.json === true,
        startAt: flags.at ?? systemClock.now(),
        tags: flags.tag ?? [],
        ...(flags.contact === undefined ? {} : { contactName: flags.contact }),
        ...(flags.lookup === undefined ? {} : { lookup: flags.lookup }),
        ...(flags.lastOperator === undefined ? {} : { lastOperator: flags.lastOperator }),
        ...(flags.owner === undefined ? {} : { owner: flags.owner }),
      }),
    )
  flow
    .command('template')
    .description('a ready flow to begin with; without a name, their names')
    .argument('[name]')
    .option('--language <language>', 'en or pt-BR', 'en')
    .action((name: string | undefined, flags: { readonly language: string }) =>
      flowTemplate({ name: name ?? null, language: flags.language }),
    )
}

interface FlowTestFlags extends ClientFlags {
  readonly at?: number
  readonly contact?: string
  readonly tag?: readonly string[]
  readonly lookup?: string
  readonly lastOperator?: string
  readonly owner?: string
}

function askedBy(flags: ClientFlags): QueueCommand {
  return { api: apiOf(flags), json: flags.json === true }
}

/** Errors of ours and of the system say what is wrong; anything else is a fault whose trace is wanted. */
function sentenceOf(error: unknown): string {
  const isOurs = error instanceof CliError || error instanceof EclusaError
  // EACCES, ENOSPC and the like: their message names the file.
  const isSystems = error instanceof Error && 'syscall' in error
  if (isOurs || isSystems) return `eclusa: ${error.message}`
  return error instanceof Error && error.stack !== undefined ? error.stack : String(error)
}

function addContacts(contacts: Command): void {
  const tenant = (command: Command): Command =>
    client(command).option('--tenant <tenant>', 'the company whose contacts they are', 'main')
  type Flags = ClientFlags & { readonly tenant: string }
  const of = (flags: Flags): ContactsCommand => ({
    api: apiOf(flags),
    json: flags.json === true,
    tenant: flags.tenant,
  })
  tenant(contacts.command('list').description('contacts, a page at a time'))
    .option('--tag <tag>', 'only those with this tag')
    .option('--name <text>', 'only those whose name has this in it')
    .option('--opted-out', 'only those who want no messages')
    .option('--after <id>', 'go on after this one')
    .action((flags: Flags & { tag?: string; name?: string; optedOut?: boolean; after?: string }) =>
      contactsList(of(flags), {
        tag: flags.tag,
        name: flags.name,
        optedOut: flags.optedOut === true ? 'true' : undefined,
        after: flags.after,
      }),
    )
  tenant(contacts.command('show').description('one contact'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .action((contact: string, flags: Flags) => contactShow(of(flags), contact))
  tenant(contacts.command('set').description('change a contact; what is not named stays'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .option('--name <name>')
    .option('--zone <zone>', 'time zone, such as America/Manaus')
    .option('--tag <tag...>', 'tags to add')
    .option('--untag <tag...>', 'tags to take away')
    .option('--field <name=value...>', 'custom fields; without a value the field goes')
    .action((contact: string, flags: Flags & ContactFlags) => contactSet(of(flags), contact, flags))
  tenant(contacts.command('import').description('take contacts from a file, .csv or .ndjson, of any size'))
    .argument('<file>')
    .action((file: string, flags: Flags) => contactsImport(of(flags), file))
  tenant(contacts.command('export').description('write all contacts to the standard output'))
    .option('--csv', 'as CSV instead of NDJSON')
    .option('--fields <names>', 'custom fields for CSV, with commas between', '')
    .action((flags: Flags & { csv?: boolean; fields: string }) =>
      contactsExport(of(flags), flags.csv === true ? 'csv' : 'ndjson', flags.fields),
    )
  tenant(contacts.command('data').description('write everything about one person to the standard output'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .action((contact: string, flags: Flags) => contactData(of(flags), contact))
  tenant(contacts.command('erase').description('remove a person everywhere; what went is the answer'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .action((contact: string, flags: Flags) => contactErase(of(flags), contact))
  tenant(
    contacts.command('auto-replies').description('show the out-of-hours replies, or set them from a file'),
  )
    .argument('[file]', 'JSON: { "tenant": { "hours": …, "text": …, "cooldownMs": … }, "operators": {} }')
    .action((file: string | undefined, flags: Flags) => contactAutoReplies(of(flags), file ?? null))
  tenant(contacts.command('notes').description('notes about a contact'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .action((contact: string, flags: Flags) => contactNotes(of(flags), contact))
  tenant(contacts.command('note').description('add a note about a contact'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .argument('<text>', 'at most 4,096 characters')
    .option('--by <name>', 'who notes it')
    .action((contact: string, text: string, flags: Flags & { by?: string }) =>
      contactNote(of(flags), contact, { text, ...(flags.by === undefined ? {} : { by: flags.by }) }),
    )
  tenant(contacts.command('drop-note').description('remove a note about a contact'))
    .argument('<contact>', 'id, number or WhatsApp id')
    .argument('<note>', 'its number')
    .action((contact: string, note: string, flags: Flags) => contactDropNote(of(flags), contact, note))
  tenant(
    contacts.command('confirmations').description('show, or set, what is said to who opted out or came back'),
  )
    .option('--opt-out <text>', '"" sends none')
    .option('--opt-in <text>', '"" sends none')
    .option('--default', 'what is not named is said in the language of the number’s country again')
    .action((flags: Flags & { optOut?: string; optIn?: string; default?: boolean }) =>
      contactConfirmations(
        of(flags),
        {
          ...(flags.optOut === undefined ? {} : { optOutText: flags.optOut }),
          ...(flags.optIn === undefined ? {} : { optInText: flags.optIn }),
        },
        flags.default === true,
      ),
    )
  tenant(
    contacts
      .command('words')
      .description('show, or set, the words that opt out or ask for a person beside those that always do'),
  )
    .option('--opt-out <words>', 'with commas between them; "" for none of your own')
    .option('--person <words>', 'likewise')
    .action((flags: Flags & { optOut?: string; person?: string }) =>
      contactWords(of(flags), {
        ...(flags.optOut === undefined ? {} : { optOut: listOf(flags.optOut) }),
        ...(flags.person === undefined ? {} : { person: listOf(flags.person) }),
      }),
    )
}

function listOf(words: string): readonly string[] {
  return words
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

function client(command: Command): Command {
  return command
    .option('--url <url>', 'address of the gateway (default: from ECLUSA_HTTP_HOST and ECLUSA_HTTP_PORT)')
    .option('--key <key>', 'API key (default: ECLUSA_API_KEY)')
    .option('--json', 'answer with JSON, for scripts')
}

function apiOf(flags: ClientFlags): ApiClient {
  const config = loadConfig()
  return new ApiClient({
    url: flags.url ?? urlOf(config),
    key: flags.key ?? config.apiKey,
    clock: systemClock,
  })
}

function urlOf(config: Config): string {
  // What a gateway listens on everywhere is reached on this machine.
  const host = config.httpHost === '0.0.0.0' || config.httpHost === '::' ? '127.0.0.1' : config.httpHost
  return `http://${host.includes(':') ? `[${host}]` : host}:${config.httpPort}`
}

function secondsOf(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0 && seconds <= 3600))
    throw new InvalidArgumentError('It must be a number from 0 to 3600.')
  return seconds
}

function minutesOf(text: string): number {
  const minutes = Number(text)
  if (!(minutes >= 0 && minutes <= 100_000)) throw new InvalidArgumentError('It must be a number of minutes.')
  return minutes
}

function instantOf(text: string): number {
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new InvalidArgumentError('It must be a time such as 2026-11-28T09:00:00-03:00.')
  return at
}
