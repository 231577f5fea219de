import { type Account, addressOf, type Device } from './directory.ts'
import type { Sender } from './fan-out.ts'
import { isGroup, isLid } from './jid.ts'
import { children, el, type Stanza } from './wire.ts'
import { stamp, type World } from './world.ts'

/** A client types, records or stops. */
export function onChatState(world: World, device: Device, stanza: Stanza): void {
  const to = stanza.attrs['to'] ?? ''
  world.statistics.chatStatesIn += 1
  sendChatState(world, { account: device.account, deviceId: device.id }, to, children(stanza))
}

/** A client comes online, goes, or wants to know when another does. */
export function onPresence(world: World, device: Device, stanza: Stanza): void {
  const { type, to, name } = stanza.attrs
  if (type === 'subscribe' || type === 'unsubscribe') {
    const target = world.directory.account(to ?? '')
    if (target === undefined) return
    if (type === 'unsubscribe') target.presenceWatchers.delete(device)
    else target.presenceWatchers.add(device)
    if (type === 'subscribe') device.connection?.send(presenceNode(world, target, to ?? ''))
    return
  }
  if (name !== undefined && name !== '') device.account.pushName = name
  if (type === undefined) return
  device.available = type === 'available'
  announcePresence(world, device.account)
}

/** `composing`, `paused`, as `to` names the chat. */
export function sendChatState(world: World, from: Sender, to: string, content: readonly Stanza[]): void {
  const { directory, groups, tasks } = world
  if (isGroup(to)) {
    const group = groups.find(to)
    const node = el('chatstate', { from: to, participant: addressOf(from.account, 'lid') }, [...content])
    for (const member of group?.members.keys() ?? []) {
      if (member === from.account) continue
      for (const device of member.devices.values()) if (device.live) device.connection?.send(node)
      tasks.add(() => member.phone.noteChatState(from.account, to, content))
    }
    return
  }
  const account = directory.account(to)
  if (account === undefined || account === from.account) return
  const node = el('chatstate', { from: addressOf(from.account, isLid(to) ? 'lid' : 'pn') }, [...content])
  for (const device of account.devices.values()) if (device.live) device.connection?.send(node)
  tasks.add(() => account.phone.noteChatState(from.account, to, content))
}

/** Tells those who subscribed whether the account is online now. */
export function announcePresence(world: World, account: Account): void {
  for (const watcher of account.presenceWatchers) {
    if (watcher.account.devices.get(watcher.id) !== watcher) account.presenceWatchers.delete(watcher)
    else if (watcher.live) watcher.connection?.send(presenceNode(world, account, addressOf(account, 'pn')))
  }
  const online = isOnline(account)
  for (const listener of account.presencePhones) {
    world.tasks.add(() => listener.phone.notePresence(account, online))
  }
}

/** Tells everyone who asked for this account's devices that one came or went. */
export function announceDevice(
  world: World,
  account: Account,
  change: 'add' | 'remove',
  deviceId: number,
  keyIndex: number,
): void {
  for (const watcher of new Set([...account.watchers, account])) {
    for (const device of watcher.devices.values()) {
      if (device.account === account && device.id === deviceId) continue
      for (const addressing of ['pn', 'lid'] as const) {
        const node = el(
          'notification',
          {
            from: addressOf(account, addressing),
            type: 'devices',
            id: `${account.number}-${change}-${deviceId}-${addressing}`,
            t: stamp(world),
          },
          [
            el(change, { device_hash: `2:${deviceId}` }, [
              el('device', { jid: addressOf(account, addressing, deviceId), 'key-index': keyIndex }),
              el('key-index-list', { ts: stamp(world) }),
            ]),
          ],
        )
        world.router.deliver(device, 'notification', node)
      }
    }
  }
}

function isOnline(account: Account): boolean {
  if (account.kind === 'contact') return account.phone.online
  for (const device of account.devices.values()) if (device.live && device.available) return true
  return false
}

function presenceNode(world: World, account: Account, as: string): Stanza {
  const from = addressOf(account, isLid(as) ? 'lid' : 'pn')
  if (isOnline(account)) return el('presence', { from, type: 'available' })
  return el('presence', { from, type: 'unavailable', last: stamp(world) })
}
