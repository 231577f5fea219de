import { type Clock, EclusaError, seededRandom, systemClock } from '@eclusa/kernel'
import { announceDevice } from './announcements.ts'
import { AppStates } from './app-state.ts'
import { type Account, type Device, Directory } from './directory.ts'
import { type FaultHandle, type FaultMatch, type FaultOptions, Faults } from './faults.ts'
import { type Group, Groups } from './groups.ts'
import { announceGroup, forgetDevice } from './iq-handlers.ts'
import { type Addressing, normaliseNumber } from './jid.ts'
import { MediaHost } from './media-host.ts'
import { Phone, type PhoneOptions } from './phone.ts'
import { Ring } from './ring.ts'
import { Router } from './router.ts'
import { Server } from './server.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { Statistics } from './statistics.ts'
import { type Violation, Violations } from './strictness.ts'
import { Tasks } from './tasks.ts'
import type { TranscriptEntry } from './transcript.ts'
import { el, type proto, setTrustedRootKey, trustedRootKey } from './wire.ts'
import type { UnknownStanza, World } from './world.ts'

export interface SimulatorOptions {
  /** 0, the default: any free port of 127.0.0.1. */
  readonly port?: number
  /** Same seed, same LIDs and message ids. Default 1. */
  readonly seed?: number
  /** What `t` attributes, waiting answers and delays go by. Default: the machine's. */
  readonly clock?: Clock
  /** How contacts address numbers unless a send says otherwise. Default `pn`. */
  readonly addressing?: Addressing
  /** Whether receipts of linked devices name the device. Default `device`. */
  readonly receiptFrom?: 'device' | 'user'
  /** Asks for pre-keys below this many. Default 4: rc14 uploads when told less than 5. */
  readonly preKeyLow?: number
  /** Answers that there are 100 pre-keys, so that new clients upload none: cheaper to link hundreds. Default false. */
  readonly skipPreKeyUpload?: boolean
  /** Linked devices per number. Default 4, as WhatsApp. */
  readonly maxDevices?: number
  /** Numbers and contacts together. Default 20,000. */
  readonly maxAccounts?: number
  /** Messages an inbox keeps. Default 100,000. */
  readonly maxInbox?: number
  /** Stanzas a device's transcript keeps. Default 2,000. */
  readonly maxTranscript?: number
  /** Whether phones send new devices the app-state key and a history. Default true; without it rc14 waits 20 s. */
  readonly history?: boolean
}

export interface NumberOptions extends Partial<PhoneOptions> {
  readonly name?: string
  /** Verified business name: fills the client's own name at once. */
  readonly biz?: string
}

export interface ContactOptions {
  readonly name?: string
  /** Default true. */
  readonly autoReceipt?: boolean
  /** Default false. */
  readonly autoRead?: boolean
  readonly replyWith?: PhoneOptions['replyWith']
  /** How long it shows "typing…" before an answer, ms. Default 0. */
  readonly delayMs?: number
}

export interface ScanOptions {
  /** Chats and contacts the phone tells the new device about; false: neither history nor keys. Default: an empty history. */
  readonly history?: proto.IHistorySync | false
}

/** A number's phone, which can link devices. */
export class NumberPhone extends Phone {
  readonly #link: { readonly server: Server; readonly world: World }

  constructor(o: {
    readonly account: Account
    readonly world: World
    readonly server: Server
    readonly options: PhoneOptions
  }) {
    super(o)
    this.#link = o
  }

  /** Links the client that shows this QR; resolves once it has signed. It then gets 515 and must connect again. */
  async scanQr(qr: string, options: ScanOptions = {}): Promise<DeviceHandle> {
    return this.#linked(await this.#link.server.pairing.scan(this.account, qr), options)
  }

  /** Links the client that shows this pairing code for this number. */
  async enterPairingCode(code: string, options: ScanOptions = {}): Promise<DeviceHandle> {
    return this.#linked(await this.#link.server.pairing.enterCode(this.account, code), options)
  }

  /** The linked devices, in order of linking. */
  devices(): readonly DeviceHandle[] {
    return [...this.account.devices.values()].map((device) => new DeviceHandle(device, this.#link.world))
  }

  /** Removes a linked device: its client gets 401, now and at every login. @throws SIMULATOR_UNKNOWN_DEVICE */
  unlink(deviceId: number): void {
    const device = this.account.devices.get(deviceId)
    if (device === undefined) throw new EclusaError(simulatorErrors.UNKNOWN_DEVICE)
    new DeviceHandle(device, this.#link.world).logout401()
  }

  #linked(device: Device, options: ScanOptions): DeviceHandle {
    device.history = options.history
    return new DeviceHandle(device, this.#link.world)
  }
}

/** One linked device, to do to it what WhatsApp or the network may. */
export class DeviceHandle {
  readonly #device: Device
  readonly #world: World

  constructor(device: Device, world: World) {
    this.#device = device
    this.#world = world
  }

  get jid(): string {
    return this.#device.jid
  }

  get id(): number {
    return this.#device.id
  }

  get number(): string {
    return this.#device.account.number
  }

  /** Logged in, past its offline messages, answering. */
  get online(): boolean {
    return this.#device.live
  }

  get preKeysLeft(): number {
    return this.#device.preKeys.count
  }

  get transcript(): readonly TranscriptEntry[] {
    return this.#device.transcript.entries
  }

  /** Breaks the TCP connection: 428. */
  drop(): void {
    this.#device.connection?.terminate()
  }

  /** Closes the WebSocket in order: 428. */
  close(): void {
    this.#device.connection?.close()
  }

  /** Ends the XML stream: 428. */
  endStream(): void {
    this.#device.connection?.closeWith(el('xmlstreamend'))
  }

  /** `<stream:error code>`; without a code an unknown condition, which clients read as 500. */
  streamError(code?: number): void {
    this.#device.connection?.closeWith(
      code === undefined
        ? el('stream:error', {}, [el('internal-server-error')])
        : el('stream:error', { code }),
    )
  }

  /** As if another socket had logged in with the same credentials: 440. */
  conflict(): void {
    this.#device.connection?.closeWith(el('stream:error', {}, [el('conflict', { type: 'replaced' })]))
  }

  /** Unlinks it on the phone: 401 now and at every login. */
  logout401(): void {
    const { account, id, keyIndex, connection } = this.#device
    forgetDevice(this.#device)
    connection?.closeWith(el('stream:error', { code: 401 }, [el('conflict', { type: 'device_removed' })]))
    announceDevice(this.#world, account, 'remove', id, keyIndex)
  }

  /** Temporary ban: the stream ends, logins fail with 402 until `allowLogin`. `expire` in seconds. */
  ban(options: { readonly code?: number; readonly expire?: number } = {}): void {
    this.refuseLogin({
      reason: 402,
      attrs: { code: String(options.code ?? 101), expire: String(options.expire ?? 3600) },
    })
    this.endStream()
  }

  /** Logins fail with `reason` (401, 403, 405, 406, 409, 429, 503 …), so often or until `allowLogin`. */
  refuseLogin(o: {
    readonly reason: number
    readonly times?: number
    readonly attrs?: Readonly<Record<string, string>>
  }): void {
    this.#device.refusal = { reason: o.reason, attrs: o.attrs ?? {}, timesLeft: o.times }
  }

  allowLogin(): void {
    this.#device.refusal = undefined
  }

  /** Keeps the TCP connection and never says anything again on it: 408 after the client's patience. */
  goSilent(): void {
    this.#device.connection?.goSilent()
  }

  /** Tells it that its stock of pre-keys is `value`. */
  announcePreKeys(value: number): void {
    const attrs = {
      type: 'encrypt',
      from: '@s.whatsapp.net',
      id: `prekeys-told-${value}`,
      t: Math.floor(this.#world.clock.now() / 1000),
    }
    this.#world.router.deliver(
      this.#device,
      'notification',
      el('notification', attrs, [el('count', { value })]),
    )
  }

  /** @internal */
  get device(): Device {
    return this.#device
  }
}

/** A stanza the server still owes a device. */
export interface PendingStanza {
  readonly device: string
  readonly kind: 'message' | 'receipt' | 'notification'
  readonly id: string
  readonly from: string
  readonly attempts: number
  readonly deviceOnline: boolean
}

/** What `check` found; `problems` is empty when all is well. */
export interface CheckResult {
  readonly clean: boolean
  readonly problems: readonly string[]
}

export interface SimulatorStats {
  readonly connections: { readonly now: number; readonly total: number }
  readonly totals: Readonly<Record<string, number>>
  readonly numbers: readonly {
    readonly number: string
    readonly devices: readonly {
      readonly jid: string
      readonly online: boolean
      readonly accepted: number
      readonly acknowledged: number
      readonly pending: number
      readonly preKeys: number
    }[]
  }[]
  readonly contacts: number
  readonly unknown: number
  readonly violations: number
}

const MAX_UNKNOWN = 1000
const MAX_INTERNAL_ERRORS = 100

/** A WhatsApp server in this process. Make it with `createSimulator`. */
export class Simulator {
  readonly #world: World
  readonly #server: Server
  #url = ''
  // bounded by: MAX_INTERNAL_ERRORS
  readonly #internalErrors = new Ring<unknown>(MAX_INTERNAL_ERRORS)

  constructor(options: SimulatorOptions) {
    const clock = options.clock ?? systemClock
    const random = seededRandom(options.seed ?? 1)
    const faults = new Faults()
    const tasks = new Tasks(clock, (error) => this.#internalErrors.push(error))
    const world: Omit<World, 'router'> = {
      clock,
      random,
      faults,
      settings: {
        addressing: options.addressing ?? 'pn',
        receiptFrom: options.receiptFrom ?? 'device',
        preKeyLow: options.preKeyLow ?? 4,
        skipPreKeyUpload: options.skipPreKeyUpload ?? false,
        maxDevices: options.maxDevices ?? 4,
        maxInbox: options.maxInbox ?? 100_000,
        maxTranscript: options.maxTranscript ?? 2000,
        history: options.history ?? true,
      },
      directory: new Directory({ random, maxAccounts: options.maxAccounts ?? 20_000 }),
      groups: new Groups(),
      violations: new Violations(() => clock.now()),
      statistics: new Statistics(),
      appStates: new AppStates(),
      media: new MediaHost({ faults, tasks }),
      tasks,
      unknown: new Ring(MAX_UNKNOWN),
    }
    this.#world = world as World
    ;(world as { router?: Router }).router = new Router(this.#world)
    this.#server = new Server(this.#world)
  }

  /** What a client gets as `waWebSocketUrl`. */
  get url(): string {
    return this.#url
  }

  /** Port of the WebSocket and of `GET /root-key`. */
  get port(): number {
    return Number(new URL(this.#url).port)
  }

  /** The key a client must trust: 32 bytes. */
  get rootPublicKey(): Buffer {
    return this.#server.identity.rootPublicKey
  }

  /** The media host's certificate, PEM: what a client's HTTPS must trust to upload and download. */
  get mediaCertificate(): string {
    return this.#world.media.certificate
  }

  /** @internal Called once by createSimulator. */
  async listen(port: number): Promise<void> {
    this.#url = await this.#server.listen(port)
  }

  /** Makes every Baileys of this process trust this simulator instead of WhatsApp; returns what undoes it. */
  trust(): () => void {
    const before = trustedRootKey()
    setTrustedRootKey(this.rootPublicKey)
    return () => setTrustedRootKey(before)
  }

  /** @throws SIMULATOR_BAD_NUMBER, SIMULATOR_NUMBER_TAKEN, SIMULATOR_TOO_MANY */
  addNumber(number: string, options: NumberOptions = {}): NumberPhone {
    const digits = normaliseNumber(number)
    const account = this.#world.directory.add({
      number: digits,
      kind: 'number',
      pushName: options.name ?? `Number ${digits.slice(-4)}`,
      biz: options.biz,
      makePhone: (made) =>
        new NumberPhone({
          account: made,
          world: this.#world,
          server: this.#server,
          options: phoneOptions(options, false),
        }),
    })
    return account.phone as NumberPhone
  }

  /** @throws SIMULATOR_BAD_NUMBER, SIMULATOR_NUMBER_TAKEN, SIMULATOR_TOO_MANY */
  addContact(number: string, options: ContactOptions = {}): Phone {
    const digits = normaliseNumber(number)
    const account = this.#world.directory.add({
      number: digits,
      kind: 'contact',
      pushName: options.name ?? `Contact ${digits.slice(-4)}`,
      biz: undefined,
      makePhone: (made) =>
        new Phone({
          account: made,
          world: this.#world,
          options: phoneOptions({ ...options, replyDelayMs: options.delayMs ?? 0 }, true),
        }),
    })
    return account.phone
  }

  /** @throws SIMULATOR_UNKNOWN_NUMBER */
  number(number: string): NumberPhone {
    const phone = this.#world.directory.byNumber(normaliseNumber(number))?.phone
    if (!(phone instanceof NumberPhone)) throw new EclusaError(simulatorErrors.UNKNOWN_NUMBER)
    return phone
  }

  /** @throws SIMULATOR_UNKNOWN_CONTACT */
  contact(number: string): Phone {
    const phone = this.#world.directory.byNumber(normaliseNumber(number))?.phone
    if (phone === undefined || phone instanceof NumberPhone)
      throw new EclusaError(simulatorErrors.UNKNOWN_CONTACT)
    return phone
  }

  numbers(): readonly NumberPhone[] {
    return [...this.#world.directory.accounts()]
      .map((account) => account.phone)
      .filter((phone) => phone instanceof NumberPhone)
  }

  contacts(): readonly Phone[] {
    return [...this.#world.directory.accounts()]
      .filter((account) => account.kind === 'contact')
      .map((account) => account.phone)
  }

  /** A group made by its first member. */
  createGroup(subject: string, members: readonly Phone[]): Group {
    const [creator, ...others] = members.map((member) => member.account)
    if (creator === undefined)
      throw new EclusaError(simulatorErrors.BAD_INPUT, { details: { field: 'members' } })
    const group = this.#world.groups.create(
      subject,
      creator,
      others,
      Math.floor(this.#world.clock.now() / 1000),
    )
    announceGroup(this.#world, group, creator)
    return group
  }

  /** By its phone-number or LID address, or a number alone for its first linked device. @throws SIMULATOR_UNKNOWN_DEVICE */
  device(jid: string): DeviceHandle {
    const { directory } = this.#world
    const device = jid.includes('@')
      ? directory.device(jid)
      : [...(directory.byNumber(normaliseNumber(jid))?.devices.values() ?? [])][0]
    if (device === undefined) throw new EclusaError(simulatorErrors.UNKNOWN_DEVICE)
    return new DeviceHandle(device, this.#world)
  }

  /** Puts a fault in force; the first that fits strikes. @throws SIMULATOR_BAD_INPUT naming the field */
  fault(options: FaultOptions, predicate?: (subject: FaultMatch) => boolean): FaultHandle {
    return this.#world.faults.add(options, predicate)
  }

  /** @throws SIMULATOR_UNKNOWN_FAULT */
  clearFault(id: string): void {
    this.#world.faults.clear(id)
  }

  clearFaults(): void {
    this.#world.faults.clearAll()
  }

  /** What the server still owes one device, or all. */
  pending(jid?: string): readonly PendingStanza[] {
    const devices = jid === undefined ? this.#world.directory.devices() : [this.device(jid).device]
    return [...devices].flatMap((device) =>
      device.mailbox.pending().map((mail) => ({
        device: device.jid,
        kind: mail.kind,
        id: mail.node.attrs['id'] ?? '',
        from: mail.node.attrs['from'] ?? '',
        attempts: mail.attempts,
        deviceOnline: device.live,
      })),
    )
  }

  /** The last stanzas between one device and the server. */
  transcript(jid: string): readonly TranscriptEntry[] {
    return this.device(jid).transcript
  }

  /** Stanzas nothing here knows how to answer; the last 1,000. */
  get unknown(): readonly UnknownStanza[] {
    return this.#world.unknown.items
  }

  /** What clients did that correct clients do not; the last 1,000. */
  get violations(): readonly Violation[] {
    return this.#world.violations.list
  }

  /** Messages to linked devices that were acknowledged by a receipt, in order; the last 200,000. */
  get acknowledged(): readonly { readonly to: string; readonly waMessageId: string }[] {
    return this.#world.statistics.acknowledged.items
  }

  /** Messages the server took from linked devices, in order; the last 200,000. */
  get accepted(): readonly { readonly from: string; readonly chat: string; readonly waMessageId: string }[] {
    return this.#world.statistics.accepted.items
  }

  /** The counters of `stats` alone, which cost the same however many numbers and contacts there are. */
  get totals(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      Object.entries(this.#world.statistics).filter(
        (entry): entry is [string, number] => typeof entry[1] === 'number',
      ),
    )
  }

  get stats(): SimulatorStats {
    const { statistics, directory, unknown, violations } = this.#world
    return {
      connections: { now: this.#server.connectionCount, total: statistics.connections },
      totals: this.totals,
      numbers: this.numbers().map((phone) => ({
        number: phone.number,
        devices: [...phone.account.devices.values()].map((device) => ({
          jid: device.jid,
          online: device.live,
          accepted: device.acceptedCount,
          acknowledged: device.acknowledgedCount,
          pending: device.mailbox.count,
          preKeys: device.preKeys.count,
        })),
      })),
      contacts: [...directory.accounts()].filter((account) => account.kind === 'contact').length,
      unknown: unknown.total,
      violations: violations.list.length,
    }
  }

  /** Everything wrong so far, at once. What is still on its way counts as undelivered: `assertClean` waits for it. */
  check(): CheckResult {
    const problems: string[] = []
    for (const device of this.#world.directory.devices()) {
      if (!device.live) continue
      for (const mail of device.mailbox.pending()) {
        if (mail.reported) continue
        problems.push(
          `undelivered: ${mail.kind} ${mail.node.attrs['id'] ?? ''} for ${device.jid}, which is connected`,
        )
      }
    }
    for (const { device, stanza } of this.unknown) problems.push(`unknown stanza from ${device}: ${stanza}`)
    for (const { kind, device, explanation } of this.violations)
      problems.push(`${kind} by ${device}: ${explanation}`)
    for (const error of this.#internalErrors.items) {
      problems.push(
        `the simulator itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      )
    }
    return { clean: problems.length === 0, problems }
  }

  /** `assertClean` as a result: waits, then says what is wrong. */
  async checkSettled(withinMs = 5000): Promise<CheckResult> {
    if (!(await this.settled(withinMs))) this.#reportMissing()
    return this.check()
  }

  /** Waits until phones have done their work and connected devices have acknowledged everything, at most `withinMs` of real time. */
  async settled(withinMs = 5000): Promise<boolean> {
    const giveUpAt = performance.now() + withinMs
    let quietTurns = 0
    while (performance.now() < giveUpAt) {
      quietTurns = this.#isQuiet() ? quietTurns + 1 : 0
      // More than one look, because an answer may be on its way between two sockets of this process.
      if (quietTurns >= 3) return true
      await new Promise<void>((resolve) => {
        systemClock.setTimer(5, resolve)
      })
    }
    return false
  }

  /**
   * Waits for what is on its way, then throws one error naming everything wrong: unknown stanzas, stanzas
   * undelivered to connected devices, undecryptable messages, violations.
   * @throws SIMULATOR_NOT_CLEAN
   */
  async assertClean(withinMs = 5000): Promise<void> {
    const { clean, problems } = await this.checkSettled(withinMs)
    if (clean) return
    const shown = problems.slice(0, 20)
    const more = problems.length > shown.length ? `\n  … and ${problems.length - shown.length} more` : ''
    throw new EclusaError(simulatorErrors.NOT_CLEAN, {
      message: `the simulator is not clean:\n  ${shown.join('\n  ')}${more}`,
      details: { problems: shown },
    })
  }

  /** Drops all connections and frees everything. Idempotent. */
  async stop(): Promise<void> {
    this.#world.tasks.stop()
    for (const account of this.#world.directory.accounts()) account.phone.stop()
    await this.#server.stop()
    await this.#world.media.stop()
  }

  /** What connected devices were given and have not acknowledged by now, they have forgotten. */
  #reportMissing(): void {
    for (const device of this.#world.directory.devices()) {
      if (!device.live) continue
      for (const mail of device.mailbox.pending()) {
        if (mail.deliveredOn === device.connection) this.#world.router.reportMissing(device, mail)
      }
    }
  }

  #isQuiet(): boolean {
    if (!this.#world.tasks.idle) return false
    for (const device of this.#world.directory.devices())
      if (device.live && device.mailbox.count > 0) return false
    return true
  }
}

/** Starts a simulator on 127.0.0.1. */
export async function createSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const simulator = new Simulator(options)
  await simulator.listen(options.port ?? 0)
  return simulator
}

function phoneOptions(o: Partial<PhoneOptions>, isContact: boolean): PhoneOptions {
  return {
    autoReceipt: o.autoReceipt ?? isContact,
    autoRead: o.autoRead ?? false,
    replyWith: o.replyWith,
    replyDelayMs: o.replyDelayMs ?? 0,
  }
}
