import type { Config } from '../../config.ts'
import type { EventSink } from './event-sink.ts'

/** The brokers that the settings name. Their libraries are loaded only then. */
export async function openSinks({
  eventsNatsUrl,
  eventsAmqpUrl,
}: Pick<Config, 'eventsNatsUrl' | 'eventsAmqpUrl'>): Promise<readonly EventSink[]> {
  const sinks: EventSink[] = []
  if (eventsNatsUrl !== '') sinks.push(new (await import('./nats-sink.ts')).NatsSink(eventsNatsUrl))
  if (eventsAmqpUrl !== '') sinks.push(new (await import('./amqp-sink.ts')).AmqpSink(eventsAmqpUrl))
  return sinks
}
