import { agree, decryptGcm, encryptGcm, generateKeyPair, hkdf, type KeyPair, sha256, sign } from './curve.ts'
import { proto } from './wire.ts'

const MODE = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0')
const PROLOGUE = Buffer.from([0x57, 0x41, 6, 3])
const ROUTING_INTRO = Buffer.from([0x45, 0x44, 0, 1])
const EMPTY = Buffer.alloc(0)
/** Three length bytes allow 16 MiB; a handshake frame is below 8 KiB. */
const MAX_HANDSHAKE_FRAME_BYTES = 64 * 1024

/** root → intermediate → leaf, as WhatsApp's server presents itself inside the Noise handshake. */
export interface ServerIdentity {
  /** What a client must trust: 32 bytes. */
  readonly rootPublicKey: Buffer
  readonly leaf: KeyPair
  /** An encoded `CertChain`. */
  readonly chain: Buffer
}

export function createServerIdentity(): ServerIdentity {
  const root = generateKeyPair()
  const intermediate = generateKeyPair()
  const leaf = generateKeyPair()
  const { Details } = proto.CertChain.NoiseCertificate
  const intermediateDetails = Details.encode({
    serial: 1,
    issuerSerial: 0,
    key: intermediate.public,
  }).finish()
  const leafDetails = Details.encode({ serial: 2, issuerSerial: 1, key: leaf.public }).finish()
  const chain = proto.CertChain.encode({
    intermediate: { details: intermediateDetails, signature: sign(root.private, intermediateDetails) },
    leaf: { details: leafDetails, signature: sign(intermediate.private, leafDetails) },
  }).finish()
  return { rootPublicKey: root.public, leaf, chain: Buffer.from(chain) }
}

export interface ClientHello {
  /** The client's Noise static key: what a later login is recognised by. */
  readonly staticKey: Buffer
  readonly payload: proto.ClientPayload
}

/**
 * The server side of Noise_XX_25519_AESGCM_SHA256 as WhatsApp speaks it: splits what comes in into frames, answers
 * the handshake, then decrypts and encrypts. States: `hello` → `finish` → `transport`.
 */
export class NoiseResponder {
  readonly #identity: ServerIdentity
  readonly #ephemeral = generateKeyPair()
  #state: 'intro' | 'hello' | 'finish' | 'transport' = 'intro'
  #hash: Buffer = MODE
  #chainKey: Buffer = MODE
  #key: Buffer = MODE
  #counter = 0
  #readKey: Buffer = EMPTY
  #writeKey: Buffer = EMPTY
  #readCounter = 0
  #writeCounter = 0
  /** bounded by: one frame of at most 16 MiB, the most three length bytes can say */
  #rest: Buffer = EMPTY

  constructor(identity: ServerIdentity) {
    this.#identity = identity
  }

  get state(): 'intro' | 'hello' | 'finish' | 'transport' {
    return this.#state
  }

  /** Takes bytes as they come and returns the complete frames in them, still encrypted. @throws Error on a wrong intro */
  split(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    if (this.#state === 'intro' && !this.#readIntro()) return []
    const frames: Buffer[] = []
    while (this.#rest.length >= 3) {
      const length = this.#rest.readUIntBE(0, 3)
      if (this.#state !== 'transport' && length > MAX_HANDSHAKE_FRAME_BYTES) {
        throw new Error(`a handshake frame of ${length} bytes`)
      }
      if (this.#rest.length < 3 + length) break
      frames.push(this.#rest.subarray(3, 3 + length))
      this.#rest = this.#rest.subarray(3 + length)
    }
    return frames
  }

  /** The client's first frame in; our answer, already framed, out. */
  hello(frame: Buffer): Buffer {
    const { clientHello } = proto.HandshakeMessage.decode(frame)
    if (!clientHello?.ephemeral) throw new Error('the first frame is no ClientHello')
    this.#authenticate(clientHello.ephemeral)
    this.#authenticate(this.#ephemeral.public)
    this.#mix(agree(this.#ephemeral.private, clientHello.ephemeral))
    const encryptedStatic = this.#seal(this.#identity.leaf.public)
    this.#mix(agree(this.#identity.leaf.private, clientHello.ephemeral))
    const payload = this.#seal(this.#identity.chain)
    this.#state = 'finish'
    return frameOf(
      Buffer.from(
        proto.HandshakeMessage.encode({
          serverHello: { ephemeral: this.#ephemeral.public, static: encryptedStatic, payload },
        }).finish(),
      ),
    )
  }

  /** The client's second frame: who it is. Afterwards `open` and `seal` work. */
  finish(frame: Buffer): ClientHello {
    const { clientFinish } = proto.HandshakeMessage.decode(frame)
    if (!clientFinish?.static || !clientFinish.payload) throw new Error('the second frame is no ClientFinish')
    const staticKey = this.#open(Buffer.from(clientFinish.static))
    this.#mix(agree(this.#ephemeral.private, staticKey))
    const payload = proto.ClientPayload.decode(this.#open(Buffer.from(clientFinish.payload)))
    const keys = hkdf(EMPTY, 64, { salt: this.#chainKey })
    this.#readKey = keys.subarray(0, 32)
    this.#writeKey = keys.subarray(32)
    this.#state = 'transport'
    return { staticKey, payload }
  }

  /** Decrypts one frame after the handshake. @throws Error when it was not made by this client */
  open(frame: Buffer): Buffer {
    return decryptGcm(this.#readKey, nonce(this.#readCounter++), EMPTY, frame)
  }

  /** Encrypts one stanza and frames it. */
  seal(body: Buffer): Buffer {
    return frameOf(encryptGcm(this.#writeKey, nonce(this.#writeCounter++), EMPTY, body))
  }

  #readIntro(): boolean {
    let start = 0
    if (this.#rest.subarray(0, 4).equals(ROUTING_INTRO)) {
      if (this.#rest.length < 7) return false
      start = 7 + this.#rest.readUIntBE(4, 3)
    }
    if (this.#rest.length < start + PROLOGUE.length) return false
    if (!this.#rest.subarray(start, start + PROLOGUE.length).equals(PROLOGUE)) {
      throw new Error('the connection does not begin with WhatsApp\'s intro "WA" 6 3')
    }
    this.#rest = this.#rest.subarray(start + PROLOGUE.length)
    this.#state = 'hello'
    this.#authenticate(PROLOGUE)
    return true
  }

  #authenticate(bytes: Uint8Array): void {
    this.#hash = sha256(Buffer.concat([this.#hash, bytes]))
  }

  #mix(secret: Buffer): void {
    const keys = hkdf(secret, 64, { salt: this.#chainKey })
    this.#chainKey = keys.subarray(0, 32)
    this.#key = keys.subarray(32)
    this.#counter = 0
  }

  #seal(plain: Buffer): Buffer {
    const sealed = encryptGcm(this.#key, nonce(this.#counter++), this.#hash, plain)
    this.#authenticate(sealed)
    return sealed
  }

  #open(sealed: Buffer): Buffer {
    const plain = decryptGcm(this.#key, nonce(this.#counter++), this.#hash, sealed)
    this.#authenticate(sealed)
    return plain
  }
}

function nonce(counter: number): Buffer {
  const iv = Buffer.alloc(12)
  iv.writeUInt32BE(counter, 8)
  return iv
}

function frameOf(body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(3 + body.length)
  frame.writeUIntBE(body.length, 0, 3)
  body.copy(frame, 3)
  return frame
}
