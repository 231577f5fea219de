import { EclusaError } from './errors.ts'
import { kernelErrors } from './kernel-errors.ts'
import { randomPart } from './random.ts'

/** A customer company. Unique in the installation; lower-case letters, digits, `-`, `_`, at most 40. */
export type TenantId = Brand<'TenantId'>
/** One WhatsApp number of a tenant: `ins_` + 20 base-32 characters. Unique in the installation, opaque. */
export type InstanceId = Brand<'InstanceId'>
/** A WhatsApp thread inside an instance, as a normalised JID without device. Unique inside an instance. */
export type ChatId = Brand<'ChatId'>
/** A person as an instance's tenant knows them: `con_` + 20 base-32 characters, the same for number and LID. */
export type ContactId = Brand<'ContactId'>
/** A queued outbound message: `msg_` + its sequence number in base 32. Unique in the installation. */
export type MessageId = Brand<'MessageId'>
/** The id WhatsApp knows a message by; fixed at enqueue, reused by every resend. Unique inside a chat. */
export type WaMessageId = Brand<'WaMessageId'>

type Brand<Name extends string> = string & { readonly __brand: Name }

/** Stands in events that concern the whole process: only operators see them, since no tenant can have this id. */
export const OPERATORS: TenantId = '*' as TenantId

const BASE32 = '0123456789abcdefghjkmnpqrstvwxyz'

/** `length` characters of Crockford's base 32 from the system's random source (5 bits each). */
export function randomBase32(length: number): string {
  const bytes = randomPart(length)
  let text = ''
  for (const byte of bytes) text += BASE32[byte & 31]
  return text
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseTenantId(text: string, field = 'tenant'): TenantId {
  if (!/^[a-z0-9][a-z0-9_-]{0,39}$/.test(text)) {
    throw badId(
      field,
      'must be 1 to 40 lower-case letters, digits, "-" or "_", beginning with a letter or digit',
    )
  }
  return text as TenantId
}

export function makeInstanceId(): InstanceId {
  return `ins_${randomBase32(20)}` as InstanceId
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseInstanceId(text: string, field = 'instance'): InstanceId {
  if (!/^ins_[0-9a-hjkmnp-tv-z]{20}$/.test(text))
    throw badId(field, 'must look like ins_ and 20 letters or digits')
  return text as InstanceId
}

export function makeContactId(): ContactId {
  return `con_${randomBase32(20)}` as ContactId
}

/** @throws KERNEL_BAD_ID naming `field` */
export function parseContactId(text: string, field = 'contact'): ContactId {
  if (!/^con_[0-9a-hjkmnp-tv-z]{20}$/.test(text))
    throw badId(field, 'must look like con_ and 20 letters or digits')
  return text as ContactId
}

/** The public id of the queue row `seq` (1 … 2^53-1). */
export function makeMessageId(seq: number): MessageId {
  // In two halves of 30 bits, because 32 bits are what whole-number operators work with.
  return `msg_${inBase32(Math.floor(seq / 2 ** 30), 5)}${inBase32(seq % 2 ** 30, 6)}` as MessageId
}

function inBase32(number: number, digits: number): string {
  let text = ''
  for (let shift = (digits - 1) * 5; shift >= 0; shift -= 5) text += BASE32[(number >>> shift) & 31]
  return text
}

/** The queue row behind a public id. @throws KERNEL_BAD_ID naming `field` */
export function parseMessageId(text: string, field = 'message'): { id: MessageId; seq: number } {
  const digits = /^msg_([0-9a-hjkmnp-tv-z]{11})$/.exec(text)?.[1]
  if (digits === undefined) throw badId(field, 'must look like msg_ and 11 letters or digits')
  let seq = 0n
  for (const digit of digits) seq = (seq << 5n) | BigInt(BASE32.indexOf(digit))
  if (seq > BigInt(Number.MAX_SAFE_INTEGER)) throw badId(field, 'names no message')
  return { id: text as MessageId, seq: Number(seq) }
}

/** A WhatsApp id of the shape a linked device makes: `3EB0` and 18 upper-case hex digits. */
export function makeWaMessageId(): WaMessageId {
  return `3EB0${randomPart(9).toString('hex').toUpperCase()}` as WaMessageId
}

/** The chat with a phone number, digits only, country code first. */
export function chatOfNumber(digits: string): ChatId {
  return `${digits}@s.whatsapp.net` as ChatId
}

/**
 * A JID without its device part: `5511…:3@s.whatsapp.net` and `5511…@s.whatsapp.net` are one chat.
 * @throws KERNEL_BAD_ID naming `field`
 */
export function parseChatId(jid: string, field = 'chat'): ChatId {
  const match = /^([0-9a-zA-Z.-]{1,64})(?::\d{1,5})?@(s\.whatsapp\.net|lid|g\.us)$/.exec(jid)
  if (match === null) throw badId(field, 'must be a WhatsApp id such as 5511999990000@s.whatsapp.net')
  return `${match[1]}@${match[2]}` as ChatId
}

function badId(field: string, rule: string): EclusaError {
  return new EclusaError(kernelErrors.BAD_ID, { details: { field }, message: `${field} ${rule}` })
}
