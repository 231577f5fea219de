import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { EclusaError, KIB } from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'

/** A text of 65,536 UTF-16 code units is at most 393,216 bytes of JSON, when each is written as an escape of 6 bytes. */
export const MAX_BODY_BYTES: number = 512 * KIB
/**
 * Bytes of request bodies in memory. Each request is charged before its body is read, by its content-length; one
 * without is charged the most it may send.
 */
export class BodyBudget {
  readonly #maxBytes: number
  #usedBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Holds the bytes until the response is over, however it ends. @throws GATEWAY_BUSY */
  charge(headers: IncomingHttpHeaders, response: ServerResponse): void {
    const bytes = bytesOf(headers)
    if (bytes === 0) return
    if (this.#usedBytes + bytes > this.#maxBytes) throw new EclusaError(gatewayErrors.BUSY)
    this.#usedBytes += bytes
    response.once('close', () => {
      this.#usedBytes -= bytes
    })
  }
}

function bytesOf(headers: IncomingHttpHeaders): number {
  const length = headers['content-length']
  // What is larger is refused before it is read.
  if (length !== undefined) return Math.min(Math.max(0, Number(length) || 0), MAX_BODY_BYTES)
  return headers['transfer-encoding'] === undefined ? 0 : MAX_BODY_BYTES
}
