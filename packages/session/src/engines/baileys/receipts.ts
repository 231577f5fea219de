import {
  type BinaryNode,
  getBinaryNodeChild,
  getBinaryNodeChildren,
  jidNormalizedUser,
} from '@eclusa/baileys'
import { SECOND } from '@eclusa/kernel'
import type { Receipt } from '../../engine.ts'
import type { OwnJids } from './inbound.ts'

/** `inactive` is a delivery to a device that was not in use; `played` implies read. */
const KINDS: ReadonlyMap<string, Receipt['kind']> = new Map([
  ['', 'delivered'],
  ['inactive', 'delivered'],
  ['read', 'read'],
  ['played', 'read'],
])

/** What a receipt stanza says about our own messages, or undefined when it says nothing about them. */
export function readReceipt(stanza: BinaryNode, own: OwnJids, now: number): Receipt | undefined {
  const kind = KINDS.get(stanza.attrs['type'] ?? '')
  const from = stanza.attrs['participant'] ?? stanza.attrs['from']
  if (kind === undefined || from === undefined || stanza.attrs['id'] === undefined) return undefined
  const sender = jidNormalizedUser(from)
  if (sender === own.number || sender === own.lid) return undefined
  const more = getBinaryNodeChildren(getBinaryNodeChild(stanza, 'list'), 'item').map(
    (item) => item.attrs['id'],
  )
  const waMessageIds = [stanza.attrs['id'], ...more].filter((id) => id !== undefined)
  const seconds = Number(stanza.attrs['t'])
  // WhatsApp counts in whole seconds: the end of that second is never before the message it is about.
  const at = Number.isFinite(seconds) && seconds > 0 ? Math.min(now, seconds * SECOND + 999) : now
  return { kind, waMessageIds, at }
}
