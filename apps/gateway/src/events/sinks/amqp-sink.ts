import { Connection, type Publisher } from 'rabbitmq-client'
import { SECOND } from '@eclusa/kernel'
import type { EventSink, SinkMessage } from './event-sink.ts'

const EXCHANGE = 'eclusa.events'
const ANSWER_MS = 10 * SECOND

/**
 * RabbitMQ: the durable topic exchange `eclusa.events`, routing keys `<tenant>.<type>`, persistent messages with a
 * `message-id`, each confirmed. An exchange keeps nothing: bind a durable queue to it before you count on events.
 */
export class AmqpSink implements EventSink {
  readonly name = 'amqp'
  readonly #url: string
  #connection: Connection | null = null
  #publisher: Publisher | null = null

  /** @param url `amqp://user:password@host:5672/vhost`, or `amqps://` */
  constructor(url: string) {
    this.#url = url
  }

  async publish({ id, subject, body }: SinkMessage): Promise<void> {
    await this.#open().send(
      {
        exchange: EXCHANGE,
        routingKey: subject,
        durable: true,
        messageId: id,
        contentType: 'application/json',
      },
      body,
    )
  }

  async stop(): Promise<void> {
    const connection = this.#connection
    this.#connection = null
    this.#publisher = null
    // Closing politely waits for a server that may be away.
    connection?.unsafeDestroy()
    await Promise.resolve()
  }

  #open(): Publisher {
    if (this.#publisher !== null) return this.#publisher
    const connection = new Connection({
      url: this.#url,
      connectionName: 'eclusa',
      connectionTimeout: ANSWER_MS,
      acquireTimeout: ANSWER_MS,
    })
    // It connects again by itself; what was under way rejects.
    connection.on('error', () => {})
    this.#connection = connection
    this.#publisher = connection.createPublisher({
      confirm: true,
      exchanges: [{ exchange: EXCHANGE, type: 'topic', durable: true }],
    })
    return this.#publisher
  }
}
