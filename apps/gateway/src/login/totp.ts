import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** RFC 6238 with what every authenticator app knows: SHA-1, six digits, 30 seconds. */
const STEP_MS = 30_000
const DIGITS = 6
/** Steps before and after now that count, for clocks that differ. */
const WINDOW = 1
const SECRET_BYTES = 20
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

export function makeTotpSecret(): Uint8Array {
  return randomBytes(SECRET_BYTES)
}

/** RFC 4226: the last bytes of an HMAC of the counter, as decimal digits. */
export function hotp(secret: Uint8Array, counter: number, digits = DIGITS): string {
  const message = Buffer.alloc(8)
  message.writeBigUInt64BE(BigInt(counter))
  const mac = createHmac('sha1', secret).update(message).digest()
  const offset = (mac.at(-1) ?? 0) & 15
  const number = mac.readUInt32BE(offset) & 0x7fff_ffff
  return String(number % 10 ** digits).padStart(digits, '0')
}

/**
 * The step that `code` belongs to, at `now` (epoch milliseconds); null when it is wrong, or not later than `after`, the
 * step that was used last: a code that somebody looked at counts once.
 */
export function totpStep(
  secret: Uint8Array,
  code: string,
  when: { readonly now: number; readonly after: number },
): number | null {
  const current = Math.floor(when.now / STEP_MS)
  const given = Buffer.from(code.padEnd(DIGITS).slice(0, DIGITS + 1))
  let found: number | null = null
  for (let step = current - WINDOW; step <= current + WINDOW; step++) {
    const expected = Buffer.from(hotp(secret, step))
    if (given.length === expected.length && timingSafeEqual(given, expected) && step > when.after)
      found = step
  }
  return found
}

/** The secret as people type it. */
export function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += BASE32[(value >>> bits) & 31]
    }
    value &= 0xff
  }
  return bits === 0 ? text : text + BASE32[(value << (5 - bits)) & 31]
}

/** What the QR code of an authenticator app says. */
export function totpUri(user: string, secret: Uint8Array): string {
  return `otpauth://totp/Eclusa:${encodeURIComponent(user)}?secret=${base32(secret)}&issuer=Eclusa`
}
