import { pbkdf2 as pbkdf2Callback, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { EclusaError, sleep, systemClock } from '@eclusa/kernel'
import { announceDevice } from './announcements.ts'
import type { Connection } from './connection.ts'
import {
  agree,
  cryptCtr,
  decryptGcm,
  generateKeyPair,
  hkdf,
  hmac,
  type KeyPair,
  sign,
  verify,
} from './curve.ts'
import { type Account, addressOf, checkKeys, Device, type DeviceKeys } from './directory.ts'
import type { ClientHello } from './noise-responder.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { bytesOf, child, el, proto, SERVER, type Stanza } from './wire.ts'
import { makeId, stamp, type World } from './world.ts'

const pbkdf2 = promisify(pbkdf2Callback)

/** What an unlinked client that has connected wants linked. */
interface Registration {
  readonly connection: Connection
  readonly noiseKey: Buffer
  readonly keys: DeviceKeys
  readonly refs: readonly string[]
  /** Set once it asked for a pairing code. */
  code: CodeRequest | undefined
}

interface CodeRequest {
  readonly number: string
  /** salt 32 | iv 16 | the client's ephemeral key, encrypted under the code. */
  readonly wrappedEphemeral: Buffer
  readonly ref: Buffer
  ephemeral: KeyPair | undefined
  clientEphemeral: Buffer | undefined
  settle:
    | { readonly resolve: (device: Device) => void; readonly reject: (error: unknown) => void }
    | undefined
}

/** Six codes, as WhatsApp gives; the client shows the first for 60 s and the others for 20 s each. */
const REFS = 6
const MAX_REGISTRATIONS = 2000
const PBKDF2_ROUNDS = 131_072
const ANSWER_WITHIN_MS = 30_000
const LOOKS = 50
const LOOK_EVERY_MS = 20
/** `06 00` before what the account signs, `06 01` before what the device signs. */
const ACCOUNT_SIGNATURE = Buffer.from([6, 0])
const DEVICE_SIGNATURE = Buffer.from([6, 1])
const EMPTY = Buffer.alloc(0)

/** Links clients to numbers, by QR and by pairing code, with correctly signed identities. */
export class Pairing {
  readonly #world: World
  // bounded by: MAX_REGISTRATIONS; the oldest connection is closed
  readonly #registrations = new Map<Connection, Registration>()

  constructor(world: World) {
    this.#world = world
  }

  /** A client that is not linked has connected: give it refs to show as QR. */
  begin(connection: Connection, hello: ClientHello): void {
    const asked = hello.payload.devicePairingData
    const { eIdent, eRegid, eSkeyId, eSkeyVal, eSkeySig } = asked ?? {}
    if (!eIdent || !eRegid || !eSkeyId || !eSkeyVal || !eSkeySig) {
      connection.closeWith(el('failure', { reason: 400, location: 'sim' }))
      return
    }
    const keys = checkKeys({
      identity: Buffer.from(eIdent),
      registrationId: Buffer.from(eRegid).readUIntBE(0, eRegid.length),
      signedPreKey: {
        id: Buffer.from(eSkeyId).readUIntBE(0, eSkeyId.length),
        public: Buffer.from(eSkeyVal),
        signature: Buffer.from(eSkeySig),
      },
    })
    const refs = Array.from({ length: REFS }, () => `2@${randomBytes(24).toString('base64url')}`)
    this.#registrations.set(connection, {
      connection,
      noiseKey: hello.staticKey,
      keys,
      refs,
      code: undefined,
    })
    const [oldest] = this.#registrations.keys()
    if (this.#registrations.size > MAX_REGISTRATIONS) oldest?.close()
    const node = el(
      'pair-device',
      {},
      refs.map((ref) => el('ref', {}, Buffer.from(ref))),
    )
    connection.request(node, ANSWER_WITHIN_MS).catch(() => {
      // A client that leaves before it answers has nothing to undo.
    })
  }

  /** The connection is gone. */
  end(connection: Connection): void {
    const registration = this.#registrations.get(connection)
    if (registration === undefined) return
    this.#registrations.delete(connection)
    registration.code?.settle?.reject(new EclusaError(simulatorErrors.PAIRING_BROKEN_OFF))
  }

  /** A stanza of a client that is not linked; false when it is not about linking. */
  onStanza(connection: Connection, stanza: Stanza): boolean {
    const registration = this.#registrations.get(connection)
    const node = child(stanza, 'link_code_companion_reg')
    if (registration === undefined || stanza.tag !== 'iq' || node === undefined) return false
    const answer = (content?: Stanza[]): void =>
      connection.send(el('iq', { type: 'result', id: stanza.attrs['id'], from: SERVER }, content))
    switch (node.attrs['stage']) {
      case 'companion_hello':
        answer([this.#beginCode(registration, node)])
        return true
      case 'companion_finish':
        try {
          const advSecret = this.#finishCode(registration, node)
          answer()
          void this.#linkByCode(registration, advSecret)
        } catch (error) {
          connection.send(
            el('iq', { type: 'error', id: stanza.attrs['id'], from: SERVER }, [el('error', { code: 400 })]),
          )
          registration.code?.settle?.reject(error)
        }
        return true
      default:
        return false
    }
  }

  /**
   * The phone scans a QR. Resolves when the client has signed and the link exists; the client then reconnects.
   * @throws SIMULATOR_BAD_QR, SIMULATOR_QR_NOT_WAITING, SIMULATOR_TOO_MANY_DEVICES, SIMULATOR_BAD_DEVICE_SIGNATURE, SIMULATOR_PAIRING_BROKEN_OFF
   */
  async scan(account: Account, qr: string): Promise<Device> {
    const [ref, noiseKey, identity, advSecret] = (qr.split('#').at(-1) ?? '').split(',')
    if (!ref || !noiseKey || !identity || !advSecret) {
      throw new EclusaError(simulatorErrors.BAD_QR, { details: { field: 'qr' } })
    }
    const registration = [...this.#registrations.values()].find((waiting) => waiting.refs.includes(ref))
    if (registration === undefined)
      throw new EclusaError(simulatorErrors.QR_NOT_WAITING, { details: { field: 'qr' } })
    if (
      noiseKey !== registration.noiseKey.toString('base64') ||
      identity !== registration.keys.identity.toString('base64')
    ) {
      throw new EclusaError(simulatorErrors.BAD_QR, {
        message: 'the keys in the QR are not those of the connection that shows it',
        details: { field: 'qr' },
      })
    }
    return await this.#link(account, registration, Buffer.from(advSecret, 'base64'))
  }

  /**
   * The phone's user types the 8 characters a client shows. Resolves like `scan`.
   * @throws SIMULATOR_CODE_NOT_WAITING, SIMULATOR_WRONG_CODE, and what `scan` throws
   */
  async enterCode(account: Account, code: string): Promise<Device> {
    const registration = await this.#asking(account.number)
    const request = registration?.code
    if (registration === undefined || request === undefined)
      throw new EclusaError(simulatorErrors.CODE_NOT_WAITING)
    const typed = code.replace(/[\s-]/g, '').toUpperCase()
    if (typed.length !== 8) throw new EclusaError(simulatorErrors.WRONG_CODE, { details: { field: 'code' } })
    const wrapped = request.wrappedEphemeral
    const clientKey = await codeKey(typed, wrapped.subarray(0, 32))
    request.clientEphemeral = cryptCtr(clientKey, wrapped.subarray(32, 48), wrapped.subarray(48))
    request.ephemeral = generateKeyPair()
    const salt = randomBytes(32)
    const iv = randomBytes(16)
    const ourKey = await codeKey(typed, salt)
    const ours = Buffer.concat([salt, iv, cryptCtr(ourKey, iv, request.ephemeral.public)])
    const linked = new Promise<Device>((resolve, reject) => {
      request.settle = { resolve, reject }
    })
    registration.connection.send(
      el(
        'notification',
        { type: 'link_code_companion_reg', from: SERVER, id: makeId(this.#world, ''), t: stamp(this.#world) },
        [
          el('link_code_companion_reg', { stage: 'primary_hello' }, [
            el('link_code_pairing_wrapped_primary_ephemeral_pub', {}, ours),
            el('primary_identity_pub', {}, account.phone.identity.public),
            el('link_code_pairing_ref', {}, request.ref),
          ]),
        ],
      ),
    )
    return await linked
  }

  /** The client that asks for a code of this number; waits a moment, because a test types faster than a frame travels. */
  async #asking(number: string): Promise<Registration | undefined> {
    for (let look = 0; look < LOOKS; look++) {
      const found = [...this.#registrations.values()].findLast((waiting) => waiting.code?.number === number)
      if (found !== undefined) return found
      await sleep(systemClock, LOOK_EVERY_MS)
    }
    return undefined
  }

  #beginCode(registration: Registration, node: Stanza): Stanza {
    const wrapped = bytesOf(node, 'link_code_pairing_wrapped_companion_ephemeral_pub') ?? EMPTY
    const serverKey = bytesOf(node, 'companion_server_auth_key_pub')
    if (wrapped.length !== 80 || serverKey?.equals(registration.noiseKey) !== true) {
      throw new EclusaError(simulatorErrors.BAD_INPUT, { details: { field: 'companion_hello' } })
    }
    const number = (node.attrs['jid'] ?? '').split('@')[0] ?? ''
    const ref = randomBytes(16)
    registration.code = {
      number,
      wrappedEphemeral: wrapped,
      ref,
      ephemeral: undefined,
      clientEphemeral: undefined,
      settle: undefined,
    }
    return el('link_code_companion_reg', { stage: 'companion_hello' }, [el('link_code_pairing_ref', {}, ref)])
  }

  /** Opens the key bundle; only the right code gives the key for it. */
  #finishCode(registration: Registration, node: Stanza): Buffer {
    const request = registration.code
    const account = this.#world.directory.byNumber(request?.number ?? '')
    const sealed = bytesOf(node, 'link_code_pairing_wrapped_key_bundle') ?? EMPTY
    if (request?.ephemeral === undefined || request.clientEphemeral === undefined || account === undefined) {
      throw new EclusaError(simulatorErrors.CODE_NOT_WAITING)
    }
    const ephemeralSecret = agree(request.ephemeral.private, request.clientEphemeral)
    const key = hkdf(ephemeralSecret, 32, {
      salt: sealed.subarray(0, 32),
      info: 'link_code_pairing_key_bundle_encryption_key',
    })
    let bundle: Buffer
    try {
      bundle = decryptGcm(key, sealed.subarray(32, 44), EMPTY, sealed.subarray(44))
    } catch (error) {
      throw new EclusaError(simulatorErrors.WRONG_CODE, { cause: error, details: { field: 'code' } })
    }
    const { identity } = account.phone
    if (
      !bundle.subarray(0, 32).equals(registration.keys.identity) ||
      !bundle.subarray(32, 64).equals(identity.public)
    ) {
      throw new EclusaError(simulatorErrors.WRONG_CODE, { message: 'the key bundle names other identities' })
    }
    const secrets = [
      ephemeralSecret,
      agree(identity.private, registration.keys.identity),
      bundle.subarray(64, 96),
    ]
    return hkdf(Buffer.concat(secrets), 32, { info: 'adv_secret' })
  }

  async #linkByCode(registration: Registration, advSecret: Buffer): Promise<void> {
    const request = registration.code
    const account = this.#world.directory.byNumber(request?.number ?? '')
    if (request === undefined || account === undefined) return
    try {
      request.settle?.resolve(await this.#link(account, registration, advSecret))
    } catch (error) {
      request.settle?.reject(error)
    }
  }

  async #link(account: Account, registration: Registration, advSecret: Buffer): Promise<Device> {
    const { connection, keys } = registration
    const { settings, statistics } = this.#world
    if (account.devices.size >= settings.maxDevices) {
      throw new EclusaError(simulatorErrors.TOO_MANY_DEVICES, {
        details: { maxDevices: settings.maxDevices },
      })
    }
    const id = account.nextDeviceId++
    const keyIndex = account.nextKeyIndex++
    const phone = account.phone.identity
    const details = Buffer.from(
      proto.ADVDeviceIdentity.encode({
        rawId: Math.floor(this.#world.random() * 0x7fff_ffff),
        timestamp: Number(stamp(this.#world)),
        keyIndex,
        accountType: proto.ADVEncryptionType.E2EE,
        deviceType: proto.ADVEncryptionType.E2EE,
      }).finish(),
    )
    const accountSignature = sign(phone.private, Buffer.concat([ACCOUNT_SIGNATURE, details, keys.identity]))
    const signed = proto.ADVSignedDeviceIdentity.encode({
      details,
      accountSignatureKey: phone.public,
      accountSignature,
    }).finish()
    const container = proto.ADVSignedDeviceIdentityHMAC.encode({
      details: signed,
      hmac: hmac(advSecret, signed),
    }).finish()
    const answer = await connection.request(
      el('pair-success', {}, [
        el('device-identity', {}, container),
        el('device', { jid: addressOf(account, 'pn', id), lid: addressOf(account, 'lid', id) }),
        el('platform', { name: 'android' }),
        ...(account.biz === undefined ? [] : [el('biz', { name: account.biz })]),
      ]),
      ANSWER_WITHIN_MS,
    )
    const reply = proto.ADVSignedDeviceIdentity.decode(
      bytesOf(child(answer, 'pair-device-sign'), 'device-identity') ?? EMPTY,
    )
    const device = new Device({
      account,
      id,
      keyIndex,
      noiseKey: registration.noiseKey.toString('base64'),
      keys,
      signedIdentity: signedIdentity(reply, phone.public, keys.identity),
      maxTranscript: settings.maxTranscript,
    })
    account.devices.set(id, device)
    statistics.pairings += 1
    this.#registrations.delete(connection)
    connection.closeWith(el('stream:error', { code: 515 }))
    announceDevice(this.#world, account, 'add', id, keyIndex)
    return device
  }
}

/** Checks what the device signed and puts back the key the reply leaves out. @throws SIMULATOR_BAD_DEVICE_SIGNATURE */
function signedIdentity(reply: proto.ADVSignedDeviceIdentity, accountKey: Buffer, deviceKey: Buffer): Buffer {
  const { details, accountSignature, deviceSignature } = reply
  if (!details || !accountSignature || !deviceSignature)
    throw new EclusaError(simulatorErrors.BAD_DEVICE_SIGNATURE)
  const signedByAccount = Buffer.concat([ACCOUNT_SIGNATURE, details, deviceKey])
  const signedByDevice = Buffer.concat([DEVICE_SIGNATURE, details, deviceKey, accountKey])
  if (
    !verify(accountKey, signedByAccount, accountSignature) ||
    !verify(deviceKey, signedByDevice, deviceSignature)
  ) {
    throw new EclusaError(simulatorErrors.BAD_DEVICE_SIGNATURE)
  }
  return Buffer.from(
    proto.ADVSignedDeviceIdentity.encode({
      details,
      accountSignatureKey: accountKey,
      accountSignature,
      deviceSignature,
    }).finish(),
  )
}

function codeKey(code: string, salt: Uint8Array): Promise<Buffer> {
  return pbkdf2(Buffer.from(code), salt, PBKDF2_ROUNDS, 32, 'sha256')
}
