import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, nanos, type NatsConnection } from '@nats-io/transport-node'
import { DAY, SECOND } from '@eclusa/kernel'
import type { EventSink, SinkMessage } from './event-sink.ts'

const STREAM = 'ECLUSA'
const PREFIX = 'eclusa'
const ANSWER_MS = 10 * SECOND
/** How long the stream that we make keeps events; change it there if you like. */
const KEEP_MS: number = 7 * DAY

/**
 * NATS JetStream: subjects `eclusa.<tenant>.<type>`, confirmed by the stream, which also drops what it has already (by
 * `Nats-Msg-Id`). The stream ECLUSA is made, on disk and for 7 days, when no stream takes these subjects.
 */
export class NatsSink implements EventSink {
  readonly name = 'nats'
  readonly #url: URL
  #connection: NatsConnection | null = null
  #opening: Promise<JetStreamClient> | null = null

  /** @param url `nats://user:password@host:4222` */
  constructor(url: string) {
    this.#url = new URL(url)
  }

  async publish({ id, subject, body }: SinkMessage): Promise<void> {
    const stream = await this.#stream()
    await stream.publish(`${PREFIX}.${subject}`, body, { msgID: id, timeout: ANSWER_MS })
  }

  async stop(): Promise<void> {
    const opening = this.#opening
    this.#opening = null
    await opening?.catch(() => {})
    await this.#connection?.close()
  }

  #stream(): Promise<JetStreamClient> {
    // A connection that ended for good is replaced; one that is away comes back by itself.
    if (this.#connection?.isClosed() === true) this.#opening = null
    return (this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = null
      throw error
    }))
  }

  async #open(): Promise<JetStreamClient> {
    const { host, username, password, protocol } = this.#url
    const connection = await connect({
      servers: host,
      name: 'eclusa',
      timeout: ANSWER_MS,
      maxReconnectAttempts: -1,
      ...credentials(decodeURIComponent(username), decodeURIComponent(password)),
      ...(protocol === 'tls:' ? { tls: {} } : {}),
    })
    this.#connection = connection
    try {
      const manager = await jetstreamManager(connection, { timeout: ANSWER_MS })
      const taken = await manager.streams.find(`${PREFIX}.any.event`).catch(() => null)
      if (taken === null) {
        await manager.streams.add({
          name: STREAM,
          subjects: [`${PREFIX}.>`],
          max_age: nanos(KEEP_MS),
        })
      }
      return jetstream(connection, { timeout: ANSWER_MS })
    } catch (error) {
      await connection.close()
      throw error
    }
  }
}

/** A name without a password is a token, as everywhere with NATS. */
function credentials(
  user: string,
  pass: string,
): { readonly user?: string; readonly pass?: string; readonly token?: string } {
  if (user === '') return {}
  return pass === '' ? { token: user } : { user, pass }
}
