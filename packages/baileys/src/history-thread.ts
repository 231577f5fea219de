import { createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { inflateSync } from 'node:zlib'
import { type HistoryRows, readHistory } from './history-scan.ts'

/** A history to read, as it came: its bytes are ours now. */
export interface HistoryTask {
  readonly kind: 'read'
  readonly bytes: Uint8Array
  /** Of an encrypted file. */
  readonly mediaKey: Uint8Array | undefined
  readonly syncType: number
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

let next: (() => void) | undefined

const port = parentPort
port?.on('message', (message: HistoryTask | HistoryNext) => {
  if (message.kind === 'next') next?.()
  else void read(message)
})

async function read({ bytes, mediaKey, syncType, maxInflatedBytes }: HistoryTask): Promise<void> {
  try {
    const compressed = mediaKey === undefined ? bytes : open(bytes, mediaKey)
    const inflated = inflateSync(compressed, { maxOutputLength: maxInflatedBytes })
    await readHistory(inflated, syncType, give)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const reason: HistoryRefusal = code === 'ERR_BUFFER_TOO_LARGE' ? 'too-large' : 'damaged'
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

/** WhatsApp's file encryption: AES-CBC, then the first 10 bytes of a MAC over IV and ciphertext. @throws RangeError */
function open(file: Uint8Array, mediaKey: Uint8Array): Buffer {
  const keys = Buffer.from(hkdfSync('sha256', mediaKey, Buffer.alloc(32), 'WhatsApp History Keys', 112))
  const [iv, cipherKey, macKey] = [keys.subarray(0, 16), keys.subarray(16, 48), keys.subarray(48, 80)]
  const body = file.subarray(0, -MAC_BYTES)
  const mac = createHmac('sha256', macKey).update(iv).update(body).digest().subarray(0, MAC_BYTES)
  if (file.byteLength <= MAC_BYTES || !timingSafeEqual(mac, file.subarray(-MAC_BYTES)))
    throw new RangeError('the MAC of the file is wrong')
  const decipher = createDecipheriv('aes-256-cbc', cipherKey, iv)
  return Buffer.concat([decipher.update(body), decipher.final()])
}
