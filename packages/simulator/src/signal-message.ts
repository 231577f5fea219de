/**
 * The headers of Signal's ciphertexts. They are not encrypted, so the server can see which message key a client
 * used: that is how a reused key is noticed.
 */

/** A `WhisperMessage`, alone (`msg`) or inside a `PreKeyWhisperMessage` (`pkmsg`). */
export interface WhisperMessage {
  /** The sender's ratchet public key, 33 bytes: names the chain. */
  readonly ratchetKey: Buffer
  /** Position in the chain, from 0. */
  readonly counter: number
  readonly previousCounter: number
  readonly ciphertext: Buffer
  /** What the MAC covers besides the two identities: version byte and protobuf. */
  readonly signed: Buffer
  readonly mac: Buffer
}

export interface PreKeyMessage {
  readonly registrationId: number
  readonly preKeyId: number | undefined
  readonly signedPreKeyId: number
  readonly baseKey: Buffer
  readonly identityKey: Buffer
  readonly message: WhisperMessage
}

/** A group message: encrypted once with the author's sender key. */
export interface SenderKeyMessage {
  readonly keyId: number
  readonly iteration: number
  readonly ciphertext: Buffer
  readonly signed: Buffer
  readonly signature: Buffer
}

/** Version 3, as both nibbles. */
export const VERSION = 0x33
const MAC_BYTES = 8
const SIGNATURE_BYTES = 64

/** @throws RangeError on anything that is not such a message */
export function parseWhisper(bytes: Buffer): WhisperMessage {
  if (bytes.length < 1 + MAC_BYTES || bytes[0] !== VERSION) throw new RangeError('not a version 3 message')
  const signed = bytes.subarray(0, bytes.length - MAC_BYTES)
  const fields = parseFields(signed.subarray(1))
  return {
    ratchetKey: bytesField(fields, 1),
    counter: numberField(fields, 2) ?? 0,
    previousCounter: numberField(fields, 3) ?? 0,
    ciphertext: bytesField(fields, 4),
    signed,
    mac: bytes.subarray(bytes.length - MAC_BYTES),
  }
}

/** @throws RangeError on anything that is not such a message */
export function parsePreKey(bytes: Buffer): PreKeyMessage {
  if (bytes.length < 1 || bytes[0] !== VERSION) throw new RangeError('not a version 3 message')
  const fields = parseFields(bytes.subarray(1))
  return {
    registrationId: numberField(fields, 5) ?? 0,
    preKeyId: numberField(fields, 1),
    signedPreKeyId: numberField(fields, 6) ?? 0,
    baseKey: bytesField(fields, 2),
    identityKey: bytesField(fields, 3),
    message: parseWhisper(bytesField(fields, 4)),
  }
}

/** @throws RangeError on anything that is not such a message */
export function parseSenderKeyMessage(bytes: Buffer): SenderKeyMessage {
  if (bytes.length < 1 + SIGNATURE_BYTES || bytes[0] !== VERSION)
    throw new RangeError('not a version 3 message')
  const signed = bytes.subarray(0, bytes.length - SIGNATURE_BYTES)
  const fields = parseFields(signed.subarray(1))
  return {
    keyId: numberField(fields, 1) ?? 0,
    iteration: numberField(fields, 2) ?? 0,
    ciphertext: bytesField(fields, 3),
    signed,
    signature: bytes.subarray(bytes.length - SIGNATURE_BYTES),
  }
}

type Field = number | Buffer

/** Just enough protobuf: varints and byte strings. */
export function parseFields(bytes: Buffer): ReadonlyMap<number, Field> {
  const fields = new Map<number, Field>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 64; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) throw new RangeError('a protobuf ends early')
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
    throw new RangeError('a varint longer than ten bytes')
  }
  while (at < bytes.length) {
    const tag = varint()
    const type = tag & 7
    if (type === 0) fields.set(tag >>> 3, varint())
    else if (type === 2) {
      const length = varint()
      if (at + length > bytes.length) throw new RangeError('a protobuf field ends early')
      fields.set(tag >>> 3, bytes.subarray(at, at + length))
      at += length
    } else throw new RangeError(`protobuf wire type ${type}`)
  }
  return fields
}

/** Writes fields in the order given; undefined ones are left out. */
export function encodeFields(
  fields: readonly (readonly [number, number | Uint8Array | undefined])[],
): Buffer {
  const parts: Uint8Array[] = []
  for (const [id, value] of fields) {
    if (value === undefined) continue
    if (typeof value === 'number') parts.push(varintBytes(id << 3), varintBytes(value))
    else parts.push(varintBytes((id << 3) | 2), varintBytes(value.length), value)
  }
  return Buffer.concat(parts)
}

function varintBytes(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

function bytesField(fields: ReadonlyMap<number, Field>, id: number): Buffer {
  const value = fields.get(id)
  if (!Buffer.isBuffer(value)) throw new RangeError(`protobuf field ${id} is missing`)
  return value
}

function numberField(fields: ReadonlyMap<number, Field>, id: number): number | undefined {
  const value = fields.get(id)
  return typeof value === 'number' ? value : undefined
}
