import type { Command } from 'commander'
import type { QueueCommand } from './queue.ts'

/** How the program makes a command that speaks to the gateway. */
export interface ClientCommands<Flags> {
  readonly client: (command: Command) => Command
  readonly askedBy: (flags: Flags) => QueueCommand
}
