import type { Command } from 'commander'
import { callFor, listOf, shown } from './conversations.ts'
import type { ClientCommands } from './client-commands.ts'

type Message = Readonly<Record<string, unknown>>

interface PageFlags {
  readonly after?: string
  readonly limit?: string
}

/** `eclusa inbound`: what contacts wrote, and what of it could not be processed. */
export function addInbound<Flags extends object>(root: Command, how: ClientCommands<Flags>): void {
  const { client, askedBy } = how
  const inbound = root.command('inbound').description('what contacts wrote')
  for (const [verb, description, ...parts] of [
    ['list', 'messages, oldest first'],
    ['set-aside', 'messages that could not be processed, and why', 'set-aside'],
  ] as const) {
    client(inbound.command(verb).description(description))
      .argument('<instance>')
      .option('--after <cursor>', 'go on after the page before')
      .option('--limit <count>', 'at most so many, 1 to 500')
      .action((instance: string, flags: Flags & PageFlags) =>
        listOf(
          askedBy(flags),
          inboundPath(instance, ...parts),
          { after: flags.after, limit: flags.limit },
          messageLine,
        ),
      )
  }
  client(inbound.command('retry').description('let a message that was set aside be processed again'))
    .argument('<instance>')
    .argument('<message>', 'its id in the list')
    .action((instance: string, message: string, flags: Flags) =>
      callFor(
        askedBy(flags),
        'POST',
        inboundPath(instance, 'set-aside', message, 'retry'),
        undefined,
        () => `${message} is processed again`,
      ),
    )
  client(inbound.command('drop').description('be done with a message that was set aside'))
    .argument('<instance>')
    .argument('<message>', 'its id in the list')
    .action((instance: string, message: string, flags: Flags) =>
      callFor(
        askedBy(flags),
        'DELETE',
        inboundPath(instance, 'set-aside', message),
        undefined,
        () => `${message} is dropped; it stays in the journal`,
      ),
    )
}

function inboundPath(instance: string, ...parts: readonly string[]): string {
  return `/v1/instances/${[instance, 'inbound', ...parts].map(encodeURIComponent).join('/')}`
}

function messageLine(message: Message): string {
  const { id, receivedAt, from, kind, text, reason } = message
  const words = text === null ? `(${shown(kind)})` : shown(text)
  const why = reason === undefined ? [] : [`set aside: ${shown(reason)}`]
  return [id, receivedAt, from, words, ...why].map(shown).join('  ')
}
