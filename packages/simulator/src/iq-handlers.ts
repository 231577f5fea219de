import { announceDevice } from './announcements.ts'
import type { Connection } from './connection.ts'
import { type Account, addressOf, checkKeys, type Device } from './directory.ts'
import { type Group, groupNode, participantNode } from './groups.ts'
import { isGroup, isLid, parseJid } from './jid.ts'
import { bundleNodes } from './phone-cipher.ts'
import { bytesOf, child, children, el, SERVER, type Stanza, stanzaText, uintBytes, uintOf } from './wire.ts'
import { makeId, stamp, type World } from './world.ts'

interface Request {
  readonly world: World
  readonly device: Device
  readonly connection: Connection
  readonly iq: Stanza
  readonly content: Stanza | undefined
}

/** An answer's content, or the code of an error. */
type Answer = Stanza[] | { readonly error: number; readonly text?: string }
type Handler = (request: Request) => Answer | Promise<Answer>

const done: Handler = () => []

/** `xmlns/type/first child`; `*` for any child. */
const handlers: Readonly<Record<string, Handler>> = {
  'w:p/get/ping': done,
  'w:p/get/*': done,
  'passive/set/active': ({ world, device }) => {
    world.tasks.add(() => openMailbox(world, device))
    return []
  },
  'passive/set/passive': done,
  'encrypt/get/count': ({ world, device }) => [
    el('count', { value: world.settings.skipPreKeyUpload ? 100 : device.preKeys.count }),
  ],
  'encrypt/get/digest': ({ device }) => [
    el('digest', {}, [
      el('registration', {}, uintBytes(device.keys.registrationId, 4)),
      el('identity', {}, device.keys.identity),
    ]),
  ],
  'encrypt/get/key': giveBundles,
  'encrypt/set/registration': takePreKeys,
  'encrypt/set/rotate': rotateSignedPreKey,
  'usync/get/usync': usync,
  'abt/get/props': () => [el('props', { protocol: 1, hash: 'simulated' })],
  'blocklist/get/': () => [el('list', { dhash: 'simulated' })],
  'blocklist/set/*': done,
  'privacy/get/privacy': () => [
    el(
      'privacy',
      {},
      ['readreceipts', 'last', 'online', 'profile', 'status', 'groupadd', 'calladd'].map((name) =>
        el('category', { name, value: 'all' }),
      ),
    ),
  ],
  'privacy/set/privacy': done,
  'privacy/set/tokens': () => [el('tokens')],
  'status/set/*': done,
  'w:stats/*/add': done,
  'urn:xmpp:whatsapp:dirty/set/clean': done,
  'disappearing_mode/set/*': done,
  'w:sync:app:state/set/sync': async ({ world, device, iq }) => [
    await world.appStates.sync(world, device, iq),
  ],
  'w:m/set/media_conn': async ({ world }) => {
    const host = await world.media.host()
    return [
      el('media_conn', { auth: world.media.auth, ttl: 3600, auth_ttl: 3600, max_buckets: 12 }, [
        el('host', { hostname: host, maxContentLengthBytes: 67_108_864 }),
      ]),
    ]
  },
  'w:profile:picture/get/picture': () => ({ error: 404, text: 'item-not-found' }),
  'w:mex/get/query': () => [el('result', {}, Buffer.from('{"data":{}}'))],
  'w:biz/get/*': () => ({ error: 404, text: 'item-not-found' }),
  'w:g2/get/query': (request) => withGroup(request, (group) => [groupNode(group)]),
  'w:g2/get/participating': ({ world, device }) => [
    el('groups', {}, [...world.groups.of(device.account)].map(groupNode)),
  ],
  'w:g2/set/create': createGroup,
  'w:g2/set/add': changeMembers,
  'w:g2/set/remove': changeMembers,
  'w:g2/set/promote': changeMembers,
  'w:g2/set/demote': changeMembers,
  'w:g2/set/leave': leaveGroups,
  'w:g2/set/subject': (request) =>
    withGroup(request, (group) => {
      group.subject = bytesOf(request.content)?.toString() ?? group.subject
      notifyGroup(
        request.world,
        group,
        request.device.account,
        el('subject', { subject: group.subject }),
        request.device,
      )
      return []
    }),
  'w:g2/set/description': (request) =>
    withGroup(request, (group) => {
      const text = bytesOf(request.content, 'body')?.toString()
      const id = request.content?.attrs['id'] ?? makeId(request.world)
      group.description = text === undefined ? undefined : { id, text }
      const body = text === undefined ? undefined : [el('body', {}, Buffer.from(text))]
      notifyGroup(
        request.world,
        group,
        request.device.account,
        el('description', { id }, body),
        request.device,
      )
      return []
    }),
  'md/set/remove-companion-device': ({ world, device, connection }) => {
    world.tasks.add(() => {
      announceDevice(world, device.account, 'remove', device.id, device.keyIndex)
      forgetDevice(device)
      connection.close()
    })
    return []
  },
}

/** Answers an iq of a linked device, past the faults that strike it. What has no handler is recorded as unknown. */
export async function answerIq(
  world: World,
  device: Device,
  connection: Connection,
  iq: Stanza,
): Promise<void> {
  const content = children(iq)[0]
  const { xmlns = '', type = '', id } = iq.attrs
  const subject = {
    number: device.account.number,
    xmlns,
    type,
    child: content?.tag ?? '',
    ...(id === undefined ? {} : { id }),
  }
  const fault = world.faults.take('iq', subject)
  if (fault !== undefined) world.statistics.faultsStruck += 1
  const answer = async (): Promise<void> => {
    const handler = findHandler(xmlns, type, content?.tag ?? '')
    if (handler === undefined) {
      world.unknown.push({ at: world.clock.now(), device: device.jid, stanza: stanzaText(iq) })
      sendError(connection, iq, 501, 'feature-not-implemented')
      return
    }
    const result = await handler({ world, device, connection, iq, content })
    if (Array.isArray(result))
      connection.send(
        el(
          'iq',
          { type: 'result', id, from: iq.attrs['to'] ?? SERVER },
          result.length === 0 ? undefined : result,
        ),
      )
    else sendError(connection, iq, result.error, result.text)
  }
  switch (fault?.do) {
    case 'lose':
    case 'ignore':
    case 'drop':
      if (fault.process === true) await handlerOnly(world, device, connection, iq)
      return
    case 'error':
      sendError(connection, iq, fault.code ?? 500, fault.code === 429 ? 'rate-overlimit' : 'simulated')
      return
    case 'delay':
      world.tasks.later(fault.ms ?? 0, answer)
      return
    case 'duplicate':
      await answer()
      await answer()
      return
    case 'dropConnection':
      connection.terminate()
      return
    case undefined:
      await answer()
  }
}

/** Removes a device for good: its mailbox, keys and login. */
export function forgetDevice(device: Device): void {
  device.account.devices.delete(device.id)
  device.account.phone.forget(device)
  device.mailbox.clear()
}

/** Stanzas may flow: what waited first, then (for a new device) keys and history from the phone. */
function openMailbox(world: World, device: Device): void {
  const { connection } = device
  if (
    connection === undefined ||
    !connection.answers ||
    device.state === 'open' ||
    device.state === 'preview'
  )
    return
  const waiting = device.mailbox.pending()
  if (waiting.length === 0) {
    endOffline(world, device)
    return
  }
  device.state = 'preview'
  const count = (kind: string): number => waiting.filter((mail) => mail.kind === kind).length
  connection.send(
    el('ib', {}, [
      el('offline_preview', {
        count: waiting.length,
        message: count('message'),
        receipt: count('receipt'),
        notification: count('notification'),
        appdata: 0,
      }),
    ]),
  )
}

/** The client asked for what waited. */
export function flushOffline(world: World, device: Device): void {
  if (device.state === 'preview') endOffline(world, device)
}

function endOffline(world: World, device: Device): void {
  device.state = 'open'
  const count = world.router.flush(device)
  // Always, also with 0: only this ends the client's event buffering.
  device.connection?.send(el('ib', {}, [el('offline', { count })]))
  if (device.bootstrapped) return
  device.bootstrapped = true
  if (world.settings.history && device.history !== false)
    device.account.phone.bootstrap(device, device.history)
}

async function handlerOnly(world: World, device: Device, connection: Connection, iq: Stanza): Promise<void> {
  const content = children(iq)[0]
  await findHandler(
    iq.attrs['xmlns'] ?? '',
    iq.attrs['type'] ?? '',
    content?.tag ?? '',
  )?.({ world, device, connection, iq, content })
}

function findHandler(xmlns: string, type: string, tag: string): Handler | undefined {
  for (const name of [`${xmlns}/${type}/${tag}`, `${xmlns}/${type}/*`, `${xmlns}/*/${tag}`]) {
    if (Object.hasOwn(handlers, name)) return handlers[name]
  }
  return undefined
}

function sendError(connection: Connection, iq: Stanza, code: number, text = 'simulated'): void {
  connection.send(
    el('iq', { type: 'error', id: iq.attrs['id'], from: iq.attrs['to'] ?? SERVER }, [
      el('error', { code, text }),
    ]),
  )
}

function giveBundles({ world, content }: Request): Answer {
  const users = children(content, 'user').map((user) => {
    const jid = user.attrs['jid'] ?? ''
    const account = world.directory.account(jid)
    const deviceId = parseJid(jid)?.device ?? 0
    const device = account?.devices.get(deviceId)
    if (account === undefined || (deviceId !== 0 && device === undefined)) {
      return el('user', { jid }, [el('error', { code: 404, text: 'item-not-found' })])
    }
    const bundle = device === undefined ? account.phone.takeBundle() : device.takeBundle()
    if (device !== undefined) askForPreKeys(world, device)
    return el('user', { jid, t: stamp(world) }, [
      el('registration', {}, uintBytes(bundle.registrationId, 4)),
      el('type', {}, Buffer.from([5])),
      el('identity', {}, bundle.identity),
      ...bundleNodes(bundle),
      ...(device === undefined ? [] : [el('device-identity', {}, device.signedIdentity)]),
    ])
  })
  return [el('list', {}, users)]
}

/** The stock ran low: the server says so, once until it is filled. */
function askForPreKeys(world: World, device: Device): void {
  const { count } = device.preKeys
  if (world.settings.skipPreKeyUpload || count >= world.settings.preKeyLow || !device.bootstrapped) return
  if (device.mailbox.find('notification', `prekeys-${device.id}`).length > 0) return
  const attrs = { type: 'encrypt', from: SERVER, id: `prekeys-${device.id}`, t: stamp(world) }
  world.router.deliver(device, 'notification', el('notification', attrs, [el('count', { value: count })]))
}

function takePreKeys({ device, iq }: Request): Answer {
  const skey = child(iq, 'skey')
  const identity = bytesOf(iq, 'identity')
  if (skey === undefined || identity === undefined) return { error: 406, text: 'not-acceptable' }
  const keys = children(child(iq, 'list'), 'key').map((key) => ({
    id: uintOf(key, 'id') ?? 0,
    public: bytesOf(key, 'value'),
  }))
  if (keys.some((key) => key.public?.length !== 32)) return { error: 406, text: 'not-acceptable' }
  device.keys = {
    identity,
    registrationId: uintOf(iq, 'registration') ?? device.keys.registrationId,
    signedPreKey: readSignedPreKey(device, identity, skey),
  }
  device.preKeys.add(keys as { id: number; public: Buffer }[])
  return []
}

function rotateSignedPreKey({ device, content }: Request): Answer {
  const skey = child(content, 'skey')
  if (skey === undefined) return { error: 406, text: 'not-acceptable' }
  device.keys = { ...device.keys, signedPreKey: readSignedPreKey(device, device.keys.identity, skey) }
  return []
}

function readSignedPreKey(device: Device, identity: Buffer, skey: Stanza): Device['keys']['signedPreKey'] {
  const signedPreKey = {
    id: uintOf(skey, 'id') ?? 0,
    public: bytesOf(skey, 'value') ?? Buffer.alloc(0),
    signature: bytesOf(skey, 'signature') ?? Buffer.alloc(0),
  }
  const known = device.keys.signedPreKey
  // The check costs milliseconds; every login may send the same key again.
  if (known.public.equals(signedPreKey.public) && known.signature.equals(signedPreKey.signature))
    return signedPreKey
  return checkKeys({ ...device.keys, identity, signedPreKey }).signedPreKey
}

function usync({ world, device, content }: Request): Answer {
  const asked = new Set(children(child(content, 'query')).map((protocol) => protocol.tag))
  const users = children(child(content, 'list'), 'user').map((user) => {
    const jid = user.attrs['jid']
    const phone = bytesOf(user, 'contact')?.toString().replace(/\D/g, '')
    const account =
      jid !== undefined
        ? world.directory.account(jid)
        : phone !== undefined
          ? world.directory.byNumber(phone)
          : undefined
    const asLid = jid !== undefined && isLid(jid)
    const known =
      account === undefined ? `${phone ?? ''}@s.whatsapp.net` : addressOf(account, asLid ? 'lid' : 'pn')
    const answers: Stanza[] = []
    if (asked.has('contact')) answers.push(el('contact', { type: account === undefined ? 'out' : 'in' }))
    if (asked.has('devices')) answers.push(deviceList(world, device, account))
    // A LID asked about itself would be stored as its own phone number.
    if (asked.has('lid') && account !== undefined && !asLid)
      answers.push(el('lid', { val: addressOf(account, 'lid') }))
    if (asked.has('status')) answers.push(el('status', { t: stamp(world) }, Buffer.from('')))
    if (asked.has('disappearing_mode')) answers.push(el('disappearing_mode', { duration: 0, t: 0 }))
    return el('user', { jid: jid ?? known }, answers)
  })
  return [el('usync', {}, [el('result', {}), el('list', {}, users)])]
}

function deviceList(world: World, asking: Device, account: Account | undefined): Stanza {
  if (account === undefined) return el('devices', {}, [])
  if (account !== asking.account) account.watchers.add(asking.account)
  const devices = [...account.devices.values()].map((device) =>
    el('device', { id: device.id, 'key-index': device.keyIndex }),
  )
  return el('devices', {}, [
    el('device-list', {}, [el('device', { id: 0 }), ...devices]),
    el('key-index-list', { ts: stamp(world) }),
  ])
}

function withGroup(request: Request, answer: (group: Group) => Answer): Answer {
  const group = request.world.groups.find(request.iq.attrs['to'] ?? '')
  if (group === undefined) return { error: 404, text: 'item-not-found' }
  if (!group.members.has(request.device.account)) return { error: 403, text: 'forbidden' }
  return answer(group)
}

function createGroup({ world, device, content }: Request): Answer {
  const members = children(content, 'participant').map((node) =>
    world.directory.account(node.attrs['jid'] ?? ''),
  )
  const known = members.filter((member) => member !== undefined)
  const group = world.groups.create(
    content?.attrs['subject'] ?? '',
    device.account,
    known,
    Number(stamp(world)),
  )
  announceGroup(world, group, device.account)
  return [groupNode(group)]
}

/** Tells every member's devices that the group exists. */
export function announceGroup(world: World, group: Group, actor: Account): void {
  notifyGroup(world, group, actor, el('create', { type: 'new', key: makeId(world) }, [groupNode(group)]))
}

function changeMembers(request: Request): Answer {
  return withGroup(request, (group) => {
    const { world, device, content } = request
    const action = content?.tag ?? ''
    const changed: Stanza[] = []
    const before = new Set(group.members.keys())
    for (const node of children(content, 'participant')) {
      const member = world.directory.account(node.attrs['jid'] ?? '')
      if (member === undefined) continue
      if (action === 'add') world.groups.add(group, member)
      else if (action === 'remove') group.members.delete(member)
      else if (group.members.has(member)) group.members.set(member, action === 'promote' ? 'admin' : 'member')
      changed.push(participantNode(member, group.members.get(member) ?? 'member'))
    }
    notifyGroup(world, group, device.account, el(action, {}, changed), device, before)
    return [el(action, {}, changed)]
  })
}

function leaveGroups({ world, device, content }: Request): Answer {
  for (const node of children(content, 'group')) {
    const jid = node.attrs['id'] ?? ''
    const group = world.groups.find(isGroup(jid) ? jid : `${jid}@g.us`)
    if (group?.members.delete(device.account) !== true) continue
    notifyGroup(world, group, device.account, el('remove', {}, [participantNode(device.account, 'member')]))
  }
  return []
}

function notifyGroup(
  world: World,
  group: Group,
  actor: Account,
  change: Stanza,
  except?: Device,
  alsoFor: ReadonlySet<Account> = new Set(),
): void {
  const attrs = {
    // The iq namespace is w:g2, the notification type w:gp2; with the other spelling clients ack and do nothing.
    type: 'w:gp2',
    from: group.jid,
    id: makeId(world, ''),
    t: stamp(world),
    participant: addressOf(actor, 'lid'),
    participant_pn: addressOf(actor, 'pn'),
    addressing_mode: 'lid',
  }
  for (const member of new Set([...group.members.keys(), ...alsoFor])) {
    for (const device of member.devices.values()) {
      if (device !== except) world.router.deliver(device, 'notification', el('notification', attrs, [change]))
    }
  }
}
