import { EclusaError } from '@eclusa/kernel'
import type { Connection } from './connection.ts'
import { type Account, addressOf, type Device } from './directory.ts'
import { envelopeFor, type Sender, targetsOf } from './fan-out.ts'
import type { FaultOptions } from './faults.ts'
import { type Addressing, isGroup, isLid, parseJid } from './jid.ts'
import type { Mail, MailKind } from './mailbox.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { KeyWatch } from './strictness.ts'
import { bytesOf, child, children, el, type Stanza } from './wire.ts'
import { stamp, type World } from './world.ts'

/** A message this many places behind one already acknowledged has been forgotten by the client. */
const FORGOTTEN_AFTER = 500

/** Moves messages, receipts and acks between devices and phones, through the mailboxes. */
export class Router {
  readonly #world: World
  // bounded by: the linked devices; weak, so an unlinked device takes its watch along
  readonly #watches = new WeakMap<Device, KeyWatch>()

  constructor(world: World) {
    this.#world = world
  }

  // ---- from linked devices

  /** A `<message>` of a client: checked, fanned out, acknowledged. */
  onMessage(device: Device, connection: Connection, stanza: Stanza): void {
    const { violations, faults, statistics } = this.#world
    const { id, to } = stanza.attrs
    if (id === undefined || to === undefined) {
      violations.add('bad-stanza', device.jid, id, 'a <message> without id or to')
      return
    }
    this.#inspect(device, connection, stanza, id, to)
    const subject = { number: device.account.number, contact: this.#nameOf(to), id }
    const atMessage = faults.take('message', subject)
    const atAck = atMessage === undefined ? faults.take('ack', subject) : undefined
    if (atMessage !== undefined || atAck !== undefined) statistics.faultsStruck += 1
    const accept = (times = 1): void => {
      device.acceptedCount += 1
      statistics.messagesAccepted += 1
      statistics.accepted.push({ from: device.jid, chat: to, waMessageId: id })
      for (let time = 0; time < times; time++) this.#fanOut(device, stanza, id, to)
    }
    const ack = (code?: number): void => this.#ackMessage(connection, stanza, code)
    if (atMessage !== undefined) this.#faultyMessage(atMessage, connection, accept, ack)
    else if (atAck !== undefined) this.#faultyAck(atAck, connection, accept, ack)
    else {
      accept()
      ack()
    }
  }

  /** A `<receipt>` of a client: settles its mailbox and goes on to the author. */
  onReceipt(device: Device, connection: Connection, stanza: Stanza): void {
    const { faults, statistics } = this.#world
    const type = stanza.attrs['type']
    const fault = faults.take('receipt', {
      direction: 'in',
      number: device.account.number,
      contact: this.#nameOf(stanza.attrs['to'] ?? ''),
      type: type ?? 'delivered',
      ...(stanza.attrs['id'] === undefined ? {} : { id: stanza.attrs['id'] }),
    })
    if (fault !== undefined) statistics.faultsStruck += 1
    const accept = (): void => this.#acceptReceipt(device, connection, stanza)
    switch (fault?.do) {
      case 'lose':
      case 'ignore':
      case 'drop':
      case 'error':
        this.#excuse(device, stanza)
        return
      case 'dropConnection':
        this.#excuse(device, stanza)
        connection.terminate()
        return
      case 'delay':
        this.#excuse(device, stanza)
        this.#world.tasks.later(fault.ms ?? 0, accept)
        return
      case 'duplicate':
        accept()
        accept()
        return
      case undefined:
        accept()
    }
  }

  /** An `<ack>` of a client. */
  onAck(device: Device, stanza: Stanza): void {
    const { violations } = this.#world
    const kind = stanza.attrs['class']
    const { id } = stanza.attrs
    if (kind === 'call' || id === undefined) return
    if (kind !== 'message' && kind !== 'receipt' && kind !== 'notification') {
      violations.add('bad-stanza', device.jid, id, `an <ack> of class ${kind ?? '(none)'}`)
      return
    }
    const mail = this.#settle(device, kind, id, stanza.attrs)
    const { error } = stanza.attrs
    if (kind !== 'message' || error === undefined || mail === undefined) return
    // What follows a retry receipt was judged when that came; anything else is lost, for nobody sends it again.
    if (!mail.retryAsked && !isResend(mail) && !isExcused(mail)) {
      violations.add('refused', device.jid, id, `the client refused a message for good with error ${error}`)
    }
  }

  // ---- from anywhere

  /**
   * Queues a stanza for a linked device and writes it when the device is connected. False when there is no such
   * device any more or its mailbox is full; then the stanza is dropped and counted.
   */
  deliver(device: Device, kind: MailKind, node: Stanza): boolean {
    const { statistics, clock } = this.#world
    if (device.account.devices.get(device.id) !== device) return false
    const mail = device.mailbox.add(kind, node, clock.now())
    if (mail === undefined) {
      statistics.mailDropped += 1
      return false
    }
    if (kind === 'message') statistics.messagesToDevices += 1
    if (device.state === 'open') this.#write(device, mail)
    return true
  }

  /** Writes everything the device has not acknowledged, marked as offline; returns how many. */
  flush(device: Device): number {
    const pending = device.mailbox.pending()
    for (const [index, mail] of pending.entries()) {
      if (device.state !== 'open') return index
      if (mail.attempts > 0) this.#world.statistics.redeliveries += 1
      this.#write(device, mail, index)
    }
    return pending.length
  }

  /** A message encrypted by a phone, for one linked device. @throws SIMULATOR_MAILBOX_FULL */
  sendFromPhone(device: Device, stanza: Stanza): void {
    if (device.mailbox.full) throw new EclusaError(simulatorErrors.MAILBOX_FULL)
    this.deliver(device, 'message', stanza)
  }

  /**
   * A receipt for messages of `author`, to all its linked devices and its phone, or only to the device the retry
   * concerns.
   */
  sendReceipt(o: {
    readonly from: Sender
    readonly author: Account
    readonly onlyTo?: number
    readonly ids: readonly string[]
    readonly type: string | undefined
    readonly addressing: Addressing
    readonly group?: string
    readonly content?: readonly Stanza[]
  }): void {
    const [id, ...more] = o.ids
    if (id === undefined) return
    const { settings, tasks } = this.#world
    const deviceId = settings.receiptFrom === 'device' || o.type === 'retry' ? o.from.deviceId : 0
    const sender = addressOf(o.from.account, o.addressing, deviceId)
    const content = [
      ...(o.content ?? []),
      ...(more.length === 0
        ? []
        : [
            el(
              'list',
              {},
              more.map((item) => el('item', { id: item })),
            ),
          ]),
    ]
    const node = el(
      'receipt',
      {
        id,
        from: o.group ?? sender,
        participant: o.group === undefined ? undefined : addressOf(o.from.account, 'lid', deviceId),
        type: o.type,
        t: stamp(this.#world),
      },
      content.length === 0 ? undefined : content,
    )
    for (const device of o.author.devices.values()) {
      if (o.onlyTo !== undefined && o.onlyTo !== device.id) continue
      if (o.author === o.from.account && device.id === o.from.deviceId) continue
      if (o.type === 'retry') for (const item of o.ids) device.connection?.sentIds.allowAgain(item)
      this.#world.statistics.receiptsOut += 1
      this.deliver(device, 'receipt', node)
    }
    if (o.author !== o.from.account && (o.onlyTo === undefined || o.onlyTo === 0)) {
      tasks.add(() => o.author.phone.noteReceipt(o.from, o.ids, o.type ?? 'delivered', o.content ?? []))
    }
  }

  // ---- inside

  #inspect(device: Device, connection: Connection, stanza: Stanza, id: string, to: string): void {
    const { violations } = this.#world
    const resend =
      stanza.attrs['participant'] !== undefined ||
      stanza.attrs['device_fanout'] === 'false' ||
      (parseJid(to)?.device ?? 0) !== 0
    if (!resend && stanza.attrs['category'] !== 'peer' && connection.sentIds.isDuplicate(id)) {
      violations.add('duplicate', device.jid, id, `message ${id} was sent twice over one connection`)
    }
    let watch = this.#watches.get(device)
    if (watch === undefined) {
      watch = new KeyWatch(device.jid, violations)
      this.#watches.set(device, watch)
    }
    let preKeyed = false
    for (const recipient of children(child(stanza, 'participants'), 'to')) {
      for (const enc of children(recipient, 'enc')) {
        watch.check(enc, id, recipient.attrs['jid'] ?? '')
        preKeyed ||= enc.attrs['type'] === 'pkmsg'
      }
    }
    for (const enc of children(stanza, 'enc')) {
      watch.check(enc, id, to)
      preKeyed ||= enc.attrs['type'] === 'pkmsg' && stanza.attrs['category'] !== 'peer'
    }
    if (!preKeyed) return
    const identity = bytesOf(stanza, 'device-identity')
    if (identity === undefined) {
      violations.add('missing-identity', device.jid, id, 'a pkmsg without <device-identity>')
    } else if (!identity.equals(device.signedIdentity)) {
      violations.add(
        'missing-identity',
        device.jid,
        id,
        'the <device-identity> is not the one signed at pairing',
      )
    }
  }

  #faultyMessage(
    fault: FaultOptions,
    connection: Connection,
    accept: (times?: number) => void,
    ack: (code?: number) => void,
  ): void {
    switch (fault.do) {
      case 'lose':
      case 'ignore':
      case 'drop':
        if (fault.process === true) accept()
        return
      case 'error':
        if (fault.process === true) accept()
        else this.#world.statistics.messagesRefused += 1
        ack(fault.code ?? 479)
        return
      case 'delay':
        this.#world.tasks.later(fault.ms ?? 0, () => {
          accept()
          ack()
        })
        return
      case 'duplicate':
        accept(2)
        ack()
        return
      case 'dropConnection':
        if (fault.process === true) accept()
        connection.terminate()
    }
  }

  #faultyAck(
    fault: FaultOptions,
    connection: Connection,
    accept: (times?: number) => void,
    ack: (code?: number) => void,
  ): void {
    if (fault.do === 'error') {
      if (fault.process === true) accept()
      else this.#world.statistics.messagesRefused += 1
      ack(fault.code ?? 479)
      return
    }
    if (fault.process !== false) accept()
    switch (fault.do) {
      case 'lose':
      case 'ignore':
      case 'drop':
        return
      case 'delay':
        this.#world.tasks.later(fault.ms ?? 0, () => ack())
        return
      case 'duplicate':
        ack()
        ack()
        return
      case 'dropConnection':
        connection.terminate()
    }
  }

  #ackMessage(connection: Connection, stanza: Stanza, code?: number): void {
    const { id, to, participant } = stanza.attrs
    // A client may send what was refused again under the same id.
    if (code !== undefined && id !== undefined) connection.sentIds.allowAgain(id)
    connection.send(
      el('ack', { class: 'message', id, from: to, participant, t: stamp(this.#world), error: code }),
    )
  }

  #fanOut(device: Device, stanza: Stanza, id: string, to: string): void {
    const sender: Sender = { account: device.account, deviceId: device.id }
    for (const target of targetsOf(this.#world, device, stanza, to)) {
      if (target.encs.length === 0) continue
      const node = envelopeFor(this.#world, sender, target, stanza, id, to)
      if (target.deviceId === 0) {
        this.#world.statistics.messagesToPhones += 1
        this.#world.tasks.add(() => target.account.phone.receive(sender, node))
      } else {
        const other = target.account.devices.get(target.deviceId)
        if (other !== undefined) this.deliver(other, 'message', node)
      }
    }
  }

  #acceptReceipt(device: Device, connection: Connection, stanza: Stanza): void {
    const { directory, statistics } = this.#world
    const { id, to, type, participant, recipient } = stanza.attrs
    if (id === undefined) {
      this.#world.violations.add('bad-stanza', device.jid, undefined, 'a <receipt> without id')
      return
    }
    statistics.receiptsIn += 1
    connection.send(el('ack', { class: 'receipt', id, from: to, type, participant }))
    const ids = [id, ...children(child(stanza, 'list'), 'item').map((item) => item.attrs['id'] ?? '')]
    if (type === 'retry') {
      this.#retry(device, stanza, id, to ?? '')
      return
    }
    for (const item of ids) {
      const mail = this.#settle(device, 'message', item, stanza.attrs)
      // Keys and history from the own phone, and copies of what the account itself sent, are no inbound messages.
      if (
        mail === undefined ||
        mail.node.attrs['category'] === 'peer' ||
        mail.node.attrs['recipient'] !== undefined
      )
        continue
      device.acknowledgedCount += 1
      statistics.deliveriesAcknowledged += 1
      statistics.acknowledged.push({ to: device.jid, waMessageId: item })
    }
    const from: Sender = { account: device.account, deviceId: device.id }
    if (type === 'hist_sync' || type === 'peer_msg' || type === 'server-error') return
    if (type === 'sender' || type === 'read-self') {
      const chat = recipient ?? to ?? ''
      for (const other of device.account.devices.values()) {
        if (other === device || (type === 'sender' && to !== undefined && parseJid(to)?.device !== other.id))
          continue
        const attrs = {
          id,
          from: addressOf(device.account, isLid(chat) ? 'lid' : 'pn', device.id),
          recipient: chat,
          type,
          t: stamp(this.#world),
        }
        this.deliver(other, 'receipt', el('receipt', attrs))
      }
      return
    }
    const author = directory.account(participant ?? to ?? '')
    if (author === undefined || author === device.account) return
    const addressing: Addressing = isLid(participant ?? to ?? '') ? 'lid' : 'pn'
    this.sendReceipt({
      from,
      author,
      ids,
      type,
      addressing,
      ...(to !== undefined && isGroup(to) ? { group: to } : {}),
    })
  }

  #retry(device: Device, stanza: Stanza, id: string, to: string): void {
    const { directory, statistics, violations, tasks } = this.#world
    statistics.retriesAskedByClients += 1
    const mail = device.mailbox.find('message', id)[0]
    if (mail !== undefined) mail.retryAsked = true
    if (mail !== undefined && !isExcused(mail) && !isResend(mail)) {
      violations.add(
        'undecryptable',
        device.jid,
        id,
        'the client could not decrypt a message and asks for it again',
      )
    }
    const authorJid = stanza.attrs['participant'] ?? to
    const author = directory.account(authorJid)
    if (author === undefined) return
    const deviceId = parseJid(authorJid)?.device ?? 0
    if (deviceId === 0) {
      tasks.add(() => author.phone.resend(device, id, stanza))
      return
    }
    this.sendReceipt({
      from: { account: device.account, deviceId: device.id },
      author,
      onlyTo: deviceId,
      ids: [id],
      type: 'retry',
      addressing: isLid(authorJid) ? 'lid' : 'pn',
      content: children(stanza),
      ...(isGroup(to) ? { group: to } : {}),
    })
  }

  #settle(
    device: Device,
    kind: MailKind,
    id: string,
    ack: Readonly<Record<string, string>>,
  ): Mail | undefined {
    const mail = device.mailbox.settle(kind, id, ack)
    if (mail === undefined) return undefined
    const oldest = mail.offline ? undefined : device.mailbox.oldest(kind)
    if (oldest === undefined || oldest.offline || oldest.deliveredOn !== device.connection) return mail
    if (oldest.seq < mail.seq - FORGOTTEN_AFTER) this.reportMissing(device, oldest)
    return mail
  }

  /** Records, once, that the device has not acknowledged what it was given. */
  reportMissing(device: Device, mail: Mail): void {
    if (mail.reported || mail.faulted) return
    mail.reported = true
    const { id } = mail.node.attrs
    if (mail.kind === 'message') {
      this.#world.violations.add(
        'missing-receipt',
        device.jid,
        id,
        `message ${id} was delivered and never acknowledged`,
      )
    } else {
      this.#world.violations.add(
        'missing-ack',
        device.jid,
        id,
        `${mail.kind} ${id} was delivered and never acknowledged`,
      )
    }
  }

  #excuse(device: Device, receipt: Stanza): void {
    for (const mail of device.mailbox.find('message', receipt.attrs['id'] ?? '')) mail.faulted = true
  }

  #write(device: Device, mail: Mail, offline?: number): void {
    const { connection } = device
    if (connection === undefined) return
    mail.attempts += 1
    mail.deliveredOn = connection
    mail.offline = offline !== undefined
    const node =
      offline === undefined
        ? mail.node
        : { ...mail.node, attrs: { ...mail.node.attrs, offline: String(offline) } }
    const fault = mail.kind === 'notification' ? undefined : this.#deliveryFault(device, mail)
    if (fault === undefined) {
      connection.send(node)
      return
    }
    mail.faulted = true
    this.#world.statistics.faultsStruck += 1
    switch (fault.do) {
      case 'lose':
      case 'ignore':
        return
      case 'delay':
        this.#world.tasks.later(fault.ms ?? 0, () => {
          if (device.connection === connection && device.mailbox.has(mail)) connection.send(node)
        })
        return
      case 'error':
        connection.send(corrupted(node))
        return
      case 'duplicate':
        connection.send(node)
        connection.send(node)
        return
      case 'drop':
        device.mailbox.remove(mail)
        this.#world.statistics.mailDropped += 1
        return
      case 'dropConnection':
        connection.terminate()
    }
  }

  #deliveryFault(device: Device, mail: Mail): FaultOptions | undefined {
    const { from, id, type, participant } = mail.node.attrs
    const contact = this.#nameOf(from ?? participant ?? '')
    const subject = {
      direction: 'out' as const,
      number: device.account.number,
      contact,
      ...(id === undefined ? {} : { id }),
    }
    if (mail.kind === 'message') return this.#world.faults.take('deliver', subject)
    return this.#world.faults.take('receipt', { ...subject, type: type ?? 'delivered' })
  }

  #nameOf(jid: string): string {
    return isGroup(jid) ? jid : (this.#world.directory.account(jid)?.number ?? jid.split('@')[0] ?? jid)
  }
}

/** It was sent because the client asked for it again. */
function isResend(mail: Mail): boolean {
  return children(mail.node, 'enc').some((enc) => enc.attrs['count'] !== undefined)
}

/** The client saw it before, or a fault touched it: failing to decrypt it proves nothing. */
function isExcused(mail: Mail): boolean {
  return mail.faulted || mail.attempts > 1
}

/** The same stanza with one bit of its ciphertext changed. */
function corrupted(node: Stanza): Stanza {
  const content = children(node).map((part) => {
    const bytes = part.tag === 'enc' ? bytesOf(part) : undefined
    if (bytes === undefined) return part
    const broken = Buffer.from(bytes)
    const last = broken.length - 1
    broken[last] = (broken[last] ?? 0) ^ 1
    return { ...part, content: broken }
  })
  return { ...node, content }
}
