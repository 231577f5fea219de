import { contactSealedTables } from '@eclusa/contacts'
import { flowSealedTables } from '@eclusa/flows'
import {
  type Clock,
  type InstanceId,
  type Lifecycle,
  type Logger,
  MINUTE,
  runLoop,
  SECOND,
  type TenantId,
} from '@eclusa/kernel'
import { contentSealedTable } from '@eclusa/queue'
import { authSealedTables, journalSealedTable } from '@eclusa/session'
import {
  type Database,
  type DataKeyCounts,
  type EnvelopeSealer,
  eventSealedTable,
  type MasterKeySource,
  openSealer,
  type ResealProgress,
  Resealer,
  type SealedTable,
} from '@eclusa/storage'
import type { Config } from './config.ts'
import { installSecretSealedTable } from './install-secret-store.ts'
import { totpSealedTable } from './login/users.ts'
import { webhookSealedTable } from './webhooks/webhook-store.ts'

/** Keys are looked after this often; between, only what is being sealed anew goes on. */
const CARE_EVERY_MS = MINUTE
/** 50 rows each: of a million values, six hours' work. */
const STEPS_PER_SECOND = 1

/** The sealer of this installation, by its settings. @throws STORAGE_WRONG_KEY */
export function openInstallationSealer(
  config: Config,
  options: { readonly database: Database; readonly keyFile: string; readonly clock: Clock },
): Promise<EnvelopeSealer> {
  const { database, keyFile, clock } = options
  const { masterKey, masterKeyOther, keyFileOther } = config
  const master: MasterKeySource =
    masterKey === null ? { file: keyFile } : { text: masterKey, from: 'ECLUSA_MASTER_KEY' }
  const other: MasterKeySource | undefined =
    masterKeyOther !== null
      ? { text: masterKeyOther, from: 'ECLUSA_MASTER_KEY_OTHER' }
      : keyFileOther === ''
        ? undefined
        : { file: keyFileOther }
  return openSealer({ database, clock, master, other })
}

/**
 * Every column in which something is sealed, but for device lists, which are gone within minutes. A test compares it
 * with the schema.
 */
export function sealedTables(
  tenantOf: (instance: InstanceId) => TenantId | undefined,
): readonly SealedTable[] {
  return [
    ...authSealedTables(tenantOf),
    installSecretSealedTable,
    webhookSealedTable,
    totpSealedTable,
    ...flowSealedTables,
    ...contactSealedTables,
    contentSealedTable,
    journalSealedTable,
    // The newest last: most of it is swept before its turn comes.
    eventSealedTable,
  ]
}

export interface SealingOptions {
  readonly sealer: EnvelopeSealer
  readonly database: Database
  readonly tables: readonly SealedTable[]
  /** Data keys older than this are replaced, and what they sealed is sealed anew. */
  readonly rotateAfterMs: number
  readonly clock: Clock
  readonly log: Logger
}

/** Looks after the keys: replaces those that are due, and seals anew in the background what others sealed. */
export class Sealing implements Lifecycle {
  readonly #options: SealingOptions
  readonly #resealer: Resealer
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null
  #caredAt = -Infinity
  #isResealing = false

  constructor(options: SealingOptions) {
    this.#options = options
    this.#resealer = new Resealer(options)
  }

  async start(): Promise<void> {
    const { clock, log } = this.#options
    const onError = (error: unknown): void =>
      log.error({ err: error }, 'the keys of the data were not looked after; it is tried again')
    this.#loop ??= runLoop({ clock, everyMs: SECOND, onError }, () => this.pass(), this.#end.signal)
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }

  /** Every second by itself. */
  async pass(): Promise<void> {
    const { sealer, clock, rotateAfterMs, log } = this.#options
    if (!this.#isResealing && clock.now() - this.#caredAt < CARE_EVERY_MS) return
    if (clock.now() - this.#caredAt >= CARE_EVERY_MS) {
      this.#caredAt = clock.now()
      await sealer.refresh()
      const rotatedCount = await sealer.rotateDataKeys(clock.now() - rotateAfterMs)
      if (rotatedCount > 0) log.info({ rotatedCount }, 'data keys replaced by new ones')
    }
    for (let step = 0; step < STEPS_PER_SECOND && !this.#end.signal.aborted; step++) {
      const before = this.#isResealing
      this.#isResealing = await this.#resealer.pass()
      if (this.#isResealing !== before) await this.#tell(before)
      if (!this.#isResealing) return
    }
  }

  async report(): Promise<{
    readonly dataKeys: DataKeyCounts
    readonly resealing: ResealProgress | null
  }> {
    const { sealer } = this.#options
    return { dataKeys: await sealer.counts(), resealing: (await this.#resealer.progress()) ?? null }
  }

  /** @throws STORAGE_KEY_NOT_OURS, and what the file system says */
  rotateMasterKey(): Promise<void> {
    return this.#options.sealer.rotateMasterKey()
  }

  /** A new data key for everybody who has one; returns how many. */
  async rotateDataKeys(): Promise<number> {
    const { sealer, clock } = this.#options
    const now = clock.now()
    for (let rotatedCount = 0; ;) {
      const count = await sealer.rotateDataKeys(now)
      if (count === 0) return rotatedCount
      rotatedCount += count
    }
  }

  async #tell(isOver: boolean): Promise<void> {
    const { log } = this.#options
    if (!isOver) return log.info({}, 'sealing stored data anew with its current keys, in the background')
    const { resealedCount } = (await this.#resealer.progress()) ?? { resealedCount: 0 }
    const fields = { resealedCount, brokenCount: this.#resealer.brokenCount }
    if (fields.brokenCount > 0)
      log.warn(
        fields,
        'stored data is sealed anew but for values that do not open; they are left as they are',
      )
    else log.info(fields, 'stored data is sealed with its current keys')
  }
}
