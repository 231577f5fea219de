import {
  addTransactionCapability,
  type AuthenticationCreds,
  DEFAULT_CONNECTION_CONFIG,
  generateSignalPubKey,
  initAuthCreds,
  type SignalKeyStore,
  type WASocket,
} from '../src/index.ts'
import { silentLogger } from './rig.ts'

type Repository = WASocket['signalRepository']

/** Somebody with keys, sessions and libsignal, and without a connection. */
export interface Person {
  readonly jid: string
  readonly creds: AuthenticationCreds
  readonly repository: Repository
}

export function person(user: string, store: SignalKeyStore): Person {
  const creds = initAuthCreds()
  const keys = addTransactionCapability(store, silentLogger, { maxCommitRetries: 1, delayBetweenTriesMs: 1 })
  const repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(
    { creds, keys },
    silentLogger,
    async () => [],
  )
  return { jid: `${user}@s.whatsapp.net`, creds, repository }
}

/** `from` learns the published keys of `to`. */
export async function introduce(from: Person, to: Person): Promise<void> {
  const { registrationId, signedIdentityKey, signedPreKey } = to.creds
  await from.repository.injectE2ESession({
    jid: to.jid,
    session: {
      registrationId,
      identityKey: generateSignalPubKey(signedIdentityKey.public),
      signedPreKey: {
        keyId: signedPreKey.keyId,
        publicKey: generateSignalPubKey(signedPreKey.keyPair.public),
        signature: signedPreKey.signature,
      },
    },
  })
}

/** A message from one to the other, read. */
export async function say(from: Person, to: Person): Promise<void> {
  const { type, ciphertext } = await from.repository.encryptMessage({
    jid: to.jid,
    data: Buffer.from('hello\x01'),
  })
  await to.repository.decryptMessage({ jid: from.jid, type, ciphertext })
}
