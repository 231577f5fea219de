import { randomBytes } from 'node:crypto'
import { EclusaError } from '@eclusa/kernel'
import { type Account, addressOf, type Device } from './directory.ts'
import { simulatorErrors } from './simulator-errors.ts'
import {
  bytesOf,
  type ChatMutation,
  child,
  children,
  decodeSyncdPatch,
  el,
  encodeSyncdPatch,
  type LTHashState,
  newLTHashState,
  proto,
  type Stanza,
  type WAPatchCreate,
  type WAPatchName,
} from './wire.ts'
import { makeId, stamp, type World } from './world.ts'

interface Collection {
  /** Patch n is at n - 1, encoded with its own version. bounded by: MAX_PATCHES; the next is refused */
  readonly patches: Buffer[]
  state: LTHashState
}

interface AccountState {
  readonly keyId: Buffer
  readonly keyData: Buffer
  /** bounded by: COLLECTIONS */
  readonly collections: Map<string, Collection>
}

/** What a client changed, decrypted: `index` is such as `["archive", jid]`. */
export interface AppStateChange {
  readonly collection: string
  readonly index: readonly string[]
  readonly action: proto.ISyncActionValue
}

const COLLECTIONS: ReadonlySet<string> = new Set([
  'critical_block',
  'critical_unblock_low',
  'regular_high',
  'regular_low',
  'regular',
])
const MAX_PATCHES = 2000

/**
 * The app state of each account: five collections of encrypted patches. The server of WhatsApp cannot read them; the
 * account's phone can, and checks every MAC of what its linked devices write.
 */
export class AppStates {
  // bounded by: maxAccounts; only accounts that have linked a device are in it
  readonly #states = new Map<Account, AccountState>()

  /** The key the phone shares with its linked devices. */
  keyOf(account: Account): { readonly keyId: Buffer; readonly keyData: Buffer } {
    return this.#state(account)
  }

  /** A change made on the phone itself. Linked devices are notified. */
  async change(world: World, account: Account, patch: WAPatchCreate): Promise<void> {
    const collection = this.#collection(account, patch.type)
    const { keyId } = this.#state(account)
    const made = await encodeSyncdPatch(
      patch,
      keyId.toString('base64'),
      collection.state,
      this.#keyFinder(account),
    )
    this.#append(collection, made.patch, made.state)
    this.#notify(world, account, patch.type, undefined)
  }

  /** Answers `w:sync:app:state`: patches the device lacks, and its own new patch when it brings one. */
  async sync(world: World, device: Device, iq: Stanza): Promise<Stanza> {
    const answers: Stanza[] = []
    for (const asked of children(child(iq, 'sync'), 'collection'))
      answers.push(await this.#syncOne(world, device, asked))
    return el('sync', {}, answers)
  }

  async #syncOne(world: World, device: Device, asked: Stanza): Promise<Stanza> {
    const name = asked.attrs['name'] ?? ''
    if (!COLLECTIONS.has(name)) return el('collection', { name, type: 'error' }, [el('error', { code: 404 })])
    const collection = this.#collection(device.account, name)
    const base = Number(asked.attrs['version'] ?? 0)
    const bytes = bytesOf(child(asked, 'patch'))
    if (bytes !== undefined) {
      if (base !== collection.patches.length) {
        return el('collection', { name, type: 'error', version: collection.patches.length }, [
          el('error', { code: 409 }),
        ])
      }
      await this.#accept(world, device, name as WAPatchName, collection, bytes)
      return el('collection', { name, version: collection.patches.length, type: 'result' })
    }
    const missing = collection.patches.slice(base)
    if (missing.length === 0) return el('collection', { name, version: collection.patches.length })
    return el('collection', { name, version: collection.patches.length }, [
      el(
        'patches',
        {},
        missing.map((patch) => el('patch', {}, patch)),
      ),
    ])
  }

  async #accept(
    world: World,
    device: Device,
    name: WAPatchName,
    collection: Collection,
    bytes: Buffer,
  ): Promise<void> {
    const { account } = device
    const patch = proto.SyncdPatch.decode(bytes)
    const version = collection.patches.length + 1
    patch.version = { version }
    let { state } = collection
    try {
      const changes: AppStateChange[] = []
      const onMutation = (mutation: ChatMutation): void => {
        changes.push({ collection: name, index: mutation.index, action: mutation.syncAction.value ?? {} })
      }
      const decoded = await decodeSyncdPatch(patch, name, state, this.#keyFinder(account), onMutation, true)
      state = { version, ...decoded }
      for (const change of changes) account.phone.noteAppStateChange(change)
    } catch (error) {
      world.violations.add(
        'app-state-mac',
        device.jid,
        undefined,
        `patch ${version} of ${name}: ${String(error)}`,
      )
    }
    this.#append(collection, patch, state)
    this.#notify(world, account, name, device)
  }

  #append(collection: Collection, patch: proto.ISyncdPatch, state: LTHashState): void {
    if (collection.patches.length >= MAX_PATCHES) throw new EclusaError(simulatorErrors.TOO_MANY)
    const version = { version: collection.patches.length + 1 }
    collection.patches.push(Buffer.from(proto.SyncdPatch.encode({ ...patch, version }).finish()))
    collection.state = state
  }

  #notify(world: World, account: Account, name: string, except: Device | undefined): void {
    const version = this.#collection(account, name).patches.length
    for (const device of account.devices.values()) {
      if (device === except || !device.bootstrapped) continue
      const attrs = {
        from: addressOf(account, 'pn'),
        type: 'server_sync',
        id: makeId(world, ''),
        t: stamp(world),
      }
      world.router.deliver(
        device,
        'notification',
        el('notification', attrs, [el('collection', { name, version })]),
      )
    }
  }

  #collection(account: Account, name: string): Collection {
    const { collections } = this.#state(account)
    let collection = collections.get(name)
    if (collection === undefined) {
      collection = { patches: [], state: newLTHashState() }
      collections.set(name, collection)
    }
    return collection
  }

  #state(account: Account): AccountState {
    let state = this.#states.get(account)
    if (state === undefined) {
      const keyId = Buffer.concat([Buffer.from([0, 0]), randomBytes(4)])
      state = { keyId, keyData: randomBytes(32), collections: new Map() }
      this.#states.set(account, state)
    }
    return state
  }

  #keyFinder(account: Account): (keyId: string) => Promise<proto.Message.IAppStateSyncKeyData | undefined> {
    const { keyId, keyData } = this.#state(account)
    return async (wanted) => (wanted === keyId.toString('base64') ? { keyData } : undefined)
  }
}
