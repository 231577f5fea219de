import { createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { pipeline, Readable, type Transform } from 'node:stream'
import { createInflate } from 'node:zlib'
import { type HistoryRows, readHistory, TooLargeError } from './history-scan.ts'

/** A history to read, as it came: its bytes are ours now. */
export interface HistoryTask {
  readonly kind: 'read'
  readonly bytes: Uint8Array
  /** Of an encrypted file. */
  readonly mediaKey: Uint8Array | undefined
  readonly syncType: number
  readonly rows: boolean
  /** Inflated bytes; more are refused. */
  readonly maxInflatedBytes: number
}

/** The next batch may come. */
export interface HistoryNext {
  readonly kind: 'next'
}

export type HistoryAnswer =
  | { readonly kind: 'rows'; readonly rows: HistoryRows; readonly last: boolean }
  | { readonly kind: 'refused'; readonly reason: HistoryRefusal; readonly message: string }

/** `too-large`: inflates to more than the limit. `damaged`: is no history, is cut off, or has a wrong MAC. */
export type HistoryRefusal = 'too-large' | 'damaged'

const MAC_BYTES = 10
const CHUNK_BYTES = 64 * 1024

let next: (() => void) | undefined

const port = parentPort
port?.on('message', (message: HistoryTask | HistoryNext) => {
  if (message.kind === 'next') next?.()
  else void read(message)
})

async function read({ bytes, mediaKey, syncType, rows, maxInflatedBytes }: HistoryTask): Promise<void> {
  try {
    const steps: Transform[] = [createInflate({ chunkSize: CHUNK_BYTES })]
    if (mediaKey !== undefined) steps.unshift(opener(bytes, mediaKey))
    const body = mediaKey === undefined ? bytes : bytes.subarray(0, -MAC_BYTES)
    await readHistory(through(body, steps), { syncType, rows, maxBytes: maxInflatedBytes }, give)
  } catch (error) {
    const reason: HistoryRefusal = error instanceof TooLargeError ? 'too-large' : 'damaged'
    tell({ kind: 'refused', reason, message: error instanceof Error ? error.message : String(error) })
  }
}

/** One batch is on its way at a time. */
async function give(rows: HistoryRows, last: boolean): Promise<void> {
  const { promise: taken, resolve } = Promise.withResolvers<void>()
  next = resolve
  tell({ kind: 'rows', rows, last })
  if (!last) await taken
}

function tell(answer: HistoryAnswer): void {
  port?.postMessage(answer)
}

/** What comes out of the last step, as it is asked for: nothing runs ahead of the reader. */
function through(bytes: Uint8Array, steps: readonly Transform[]): AsyncIterable<Uint8Array> {
  const [first, ...rest] = [Readable.from(slices(bytes), { objectMode: false }), ...steps]
  const last = rest.at(-1)
  if (first === undefined || last === undefined) throw new RangeError('no step to go through')
  // Its error also comes out of the last step, where the reader sees it.
  pipeline([first, ...rest], () => {})
  return last as AsyncIterable<Uint8Array>
}

function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES)
}

/** WhatsApp's file encryption: AES-CBC, then the first 10 bytes of a MAC over IV and ciphertext. @throws RangeError */
function opener(file: Uint8Array, mediaKey: Uint8Array): Transform {
  const keys = Buffer.from(hkdfSync('sha256', mediaKey, Buffer.alloc(32), 'WhatsApp History Keys', 112))
  const [iv, cipherKey, macKey] = [keys.subarray(0, 16), keys.subarray(16, 48), keys.subarray(48, 80)]
  const body = file.subarray(0, -MAC_BYTES)
  const mac = createHmac('sha256', macKey).update(iv).update(body).digest().subarray(0, MAC_BYTES)
  if (file.byteLength <= MAC_BYTES || !timingSafeEqual(mac, file.subarray(-MAC_BYTES)))
    throw new RangeError('the MAC of the file is wrong')
  return createDecipheriv('aes-256-cbc', cipherKey, iv)
}
