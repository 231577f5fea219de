import { type Clock, SECOND, sleep } from '@eclusa/kernel'
import { type ApiClient, CliError, type MessageAnswer } from './api-client.ts'

export interface SendOptions {
  readonly api: ApiClient
  readonly clock: Clock
  readonly json: boolean
  readonly instance: string
  readonly to: string
  readonly text: string
  /** How long to wait for the message to be delivered; 0 does not. */
  readonly waitMs: number
  readonly idempotencyKey?: string
}

const LOOK_EVERY_MS = SECOND / 2

/** Puts a text into the queue and, when asked to, waits for what becomes of it. */
export async function send(options: SendOptions): Promise<void> {
  const { api, clock, json, waitMs } = options
  let message: MessageAnswer = await api.send(
    options.instance,
    options.to,
    options.text,
    options.idempotencyKey,
  )
  const giveUpAt = clock.now() + waitMs
  while (!isOver(message) && clock.now() < giveUpAt) {
    await sleep(clock, LOOK_EVERY_MS)
    message = await api.message(message.id)
  }
  process.stdout.write(json ? `${JSON.stringify(message)}\n` : `${message.id}  ${message.state}\n`)
  if (message.failure !== null && message.failure !== undefined) {
    throw new CliError(`${message.failure.message} (${message.failure.code})`)
  }
}

function isOver({ state }: MessageAnswer): boolean {
  return state === 'DELIVERED' || state === 'READ' || state === 'FAILED' || state === 'CANCELLED'
}
