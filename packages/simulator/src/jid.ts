import { EclusaError } from '@eclusa/kernel'
import { simulatorErrors } from './simulator-errors.ts'

/** An address taken apart: `5511999990001:2@s.whatsapp.net`, `200000000000001@lid`, `1203630000@g.us`. */
export interface Jid {
  readonly user: string
  readonly device: number
  readonly server: string
}

export type Addressing = 'pn' | 'lid'

export function parseJid(text: string): Jid | undefined {
  const match = /^([^:@_]*)(?:_\d+)?(?::(\d+))?@(.+)$/.exec(text)
  if (match === null) return undefined
  return { user: match[1] ?? '', device: Number(match[2] ?? 0), server: match[3] ?? '' }
}

export function makeJid(user: string, server: string, device = 0): string {
  return `${user}${device === 0 ? '' : `:${device}`}@${server}`
}

export function isGroup(jid: string): boolean {
  return jid.endsWith('@g.us')
}

export function isLid(jid: string): boolean {
  return jid.endsWith('@lid')
}

/** Digits only; a leading "+" and the usual separators are accepted. @throws SIMULATOR_BAD_NUMBER naming `field` */
export function normaliseNumber(text: unknown, field = 'number'): string {
  const digits =
    typeof text === 'string' ? text.replace(/@s\.whatsapp\.net$/, '').replace(/^\+|[ ().-]/g, '') : ''
  if (!/^\d{8,15}$/.test(digits)) {
    throw new EclusaError(simulatorErrors.BAD_NUMBER, { details: { field } })
  }
  return digits
}
