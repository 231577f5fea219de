import { type Account, addressOf, type Device } from './directory.ts'
import { type Addressing, isGroup, isLid, parseJid } from './jid.ts'
import { child, children, el, type Stanza } from './wire.ts'
import { stamp, type World } from './world.ts'

/** Who a stanza comes from: a linked device, or a phone (device 0). */
export interface Sender {
  readonly account: Account
  /** 0 for the phone. */
  readonly deviceId: number
}

/** One recipient of a message. */
export interface Target {
  readonly account: Account
  readonly deviceId: number
  readonly encs: readonly Stanza[]
}

/** Which devices and phones a client's message is for, and what is encrypted for each. */
export function* targetsOf(world: World, device: Device, stanza: Stanza, to: string): Iterable<Target> {
  const { directory, groups } = world
  const shared = children(stanza, 'enc')
  if (stanza.attrs['category'] === 'peer') {
    yield { account: device.account, deviceId: 0, encs: shared }
    return
  }
  const only = stanza.attrs['participant'] ?? (isGroup(to) || shared.length === 0 ? undefined : to)
  if (only !== undefined) {
    const account = directory.account(only)
    if (account !== undefined) yield { account, deviceId: parseJid(only)?.device ?? 0, encs: shared }
    return
  }
  const named = new Map<string, Target>()
  for (const recipient of children(child(stanza, 'participants'), 'to')) {
    const jid = recipient.attrs['jid'] ?? ''
    const account = directory.account(jid)
    if (account === undefined) continue
    const deviceId = parseJid(jid)?.device ?? 0
    named.set(`${account.number}:${deviceId}`, { account, deviceId, encs: children(recipient, 'enc') })
  }
  if (!isGroup(to)) {
    yield* named.values()
    return
  }
  for (const account of groups.find(to)?.members.keys() ?? []) {
    for (const deviceId of [0, ...account.devices.keys()]) {
      if (account === device.account && deviceId === device.id) continue
      const encs = [...(named.get(`${account.number}:${deviceId}`)?.encs ?? []), ...shared]
      yield { account, deviceId, encs }
    }
  }
}

/** The stanza one recipient device gets. */
export function envelopeFor(
  world: World,
  sender: Sender,
  target: Target,
  stanza: Stanza,
  id: string,
  to: string,
): Stanza {
  const { directory } = world
  const identity = child(stanza, 'device-identity')
  const content = [
    ...target.encs,
    ...(identity !== undefined && target.encs.some((enc) => enc.attrs['type'] === 'pkmsg') ? [identity] : []),
  ]
  const common = {
    id,
    type: stanza.attrs['type'] ?? 'text',
    t: stamp(world),
    notify: sender.account.pushName,
    edit: stanza.attrs['edit'],
  }
  if (isGroup(to)) {
    const attrs = {
      ...common,
      from: to,
      participant: addressOf(sender.account, 'lid', sender.deviceId),
      participant_pn: addressOf(sender.account, 'pn'),
      addressing_mode: 'lid',
    }
    return el('message', attrs, content)
  }
  const addressing: Addressing = isLid(to) ? 'lid' : 'pn'
  const from = addressOf(sender.account, addressing, sender.deviceId)
  if (stanza.attrs['category'] === 'peer')
    return el('message', { ...common, from, category: 'peer' }, content)
  if (target.account !== sender.account)
    return el('message', { ...common, from, ...alternate(sender.account, addressing, 'sender') }, content)
  const chatJid = stanza.attrs['recipient'] ?? to
  const chat = directory.account(chatJid)
  const attrs = {
    ...common,
    from,
    recipient: chat === undefined ? chatJid : addressOf(chat, isLid(chatJid) ? 'lid' : 'pn'),
    ...(chat === undefined ? {} : alternate(chat, isLid(chatJid) ? 'lid' : 'pn', 'peer_recipient')),
  }
  return el('message', attrs, content)
}

/** The other address of an account: `sender_lid` beside a phone-number address and the reverse. */
function alternate(account: Account, addressing: Addressing, prefix: string): Record<string, string> {
  return addressing === 'pn'
    ? { [`${prefix}_lid`]: addressOf(account, 'lid') }
    : { [`${prefix}_pn`]: addressOf(account, 'pn') }
}
