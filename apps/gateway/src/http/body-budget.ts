import type { EventEmitter } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { type Clock, EclusaError, KIB, SECOND } from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'

/** A text of 65,536 UTF-16 code units is at most 393,216 bytes of JSON, when each is written as an escape of 6 bytes. */
export const MAX_BODY_BYTES: number = 512 * KIB
/** Longest wait for room, in milliseconds: well below the time in which a request must have been read. */
const MAX_WAIT_MS: number = 5 * SECOND

/** The response to a request, as far as it tells when the request is over. */
type Response = EventEmitter & { readonly destroyed?: boolean }

interface Waiter {
  readonly bytes: number
  admit(): void
}

/**
 * Bytes of request bodies in memory. Each request is charged before its body is read, by its content-length; one
 * without is charged the most it may send. Where there is no room a request waits, in order of arrival: volume costs
 * time first, and is refused only when nothing moves.
 */
export class BodyBudget {
  readonly #maxBytes: number
  readonly #clock: Clock
  // bounded by: maxConnections, each for at most MAX_WAIT_MS
  readonly #waiting = new Set<Waiter>()
  #usedBytes = 0

  constructor(options: { readonly maxBytes: number; readonly clock: Clock }) {
    this.#maxBytes = options.maxBytes
    this.#clock = options.clock
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Resolves when the bytes are held; they are until the response is over, however it ends. @throws GATEWAY_BUSY */
  async enter(headers: IncomingHttpHeaders, response: Response): Promise<void> {
    const bytes = bytesOf(headers)
    if (bytes === 0) return
    // Its end was told already and would not be told again.
    if (response.destroyed === true) throw new EclusaError(gatewayErrors.BUSY)
    if (this.#waiting.size > 0 || this.#usedBytes + bytes > this.#maxBytes) await this.#turn(bytes, response)
    else this.#hold(bytes, response)
  }

  #hold(bytes: number, response: Response): void {
    this.#usedBytes += bytes
    response.once('close', () => {
      this.#usedBytes -= bytes
      this.#admit()
    })
  }

  /** Resolves with the bytes held. */
  #turn(bytes: number, response: Response): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        timer.cancel()
        response.off('close', giveUp)
        this.#waiting.delete(waiter)
      }
      const giveUp = (): void => {
        leave()
        reject(new EclusaError(gatewayErrors.BUSY))
        this.#admit()
      }
      const waiter: Waiter = {
        bytes,
        admit: () => {
          leave()
          // In this turn: the response may close before whoever waits goes on.
          this.#hold(bytes, response)
          resolve()
        },
      }
      const timer = this.#clock.setTimer(MAX_WAIT_MS, giveUp)
      response.once('close', giveUp)
      this.#waiting.add(waiter)
    })
  }

  #admit(): void {
    for (const waiter of this.#waiting) {
      if (this.#usedBytes + waiter.bytes > this.#maxBytes) return
      waiter.admit()
    }
  }
}

function bytesOf(headers: IncomingHttpHeaders): number {
  const length = headers['content-length']
  // What is larger is refused before it is read.
  if (length !== undefined) return Math.min(Math.max(0, Number(length) || 0), MAX_BODY_BYTES)
  return headers['transfer-encoding'] === undefined ? 0 : MAX_BODY_BYTES
}
