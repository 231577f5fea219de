import { OPERATORS } from '@eclusa/kernel'
import type { LoggedEvent } from '@eclusa/storage'
import { toldEvent } from '../event-text.ts'

/** One event on its way to a broker. */
export interface SinkMessage {
  /** The same however often it is published. */
  readonly id: string
  /** `acme.outbound.sent`: tenant and type, divided by dots; `operator` is the tenant of what concerns the machine. */
  readonly subject: string
  /** The event as the API tells it, JSON. */
  readonly body: Buffer
}

/** A message broker that keeps what it confirms. */
export interface EventSink {
  readonly name: 'nats' | 'amqp'
  /** Resolves when the broker has it on disk; rejects when that is not known. */
  publish(message: SinkMessage): Promise<void>
  /** Closes the connection; idempotent. */
  stop(): Promise<void>
}

export function sinkMessage(origin: string, event: LoggedEvent): SinkMessage {
  const tenant = event.tenant === OPERATORS ? 'operator' : event.tenant
  return {
    id: `${origin}-${event.seq}`,
    subject: `${tenant}.${event.type}`,
    body: Buffer.from(JSON.stringify(toldEvent(event))),
  }
}
