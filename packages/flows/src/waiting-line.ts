import { type Clock, EclusaError, type Logger, runLoop, SECOND, type TenantId } from '@eclusa/kernel'
import { storageErrors } from '@eclusa/storage'
import type { Conversation, ConversationId, OperatorId, SectorId } from './conversation.ts'
import type { ConversationPlans, Moved, Planned } from './conversation-plans.ts'
import type { ConversationRow, ConversationStore } from './conversation-store.ts'
import { chooseOperator } from './distribution.ts'
import type { FreeOperator, Operators } from './operator-store.ts'
import type { Sectors } from './sector-store.ts'

/** Finds what no wake told of: hours that begin, another process's changes, a boot after a crash. */
const PASS_EVERY_MS = 15 * SECOND
/** Sectors read at a time. */
const PASS_STEP = 100
/** Sectors that move at a time; what is woken beyond it waits for the next pass. */
export const MAX_MOVING = 2000
/** Lost races in a row after which a sector waits for its next wake or pass. */
const MAX_LOST = 50

/**
 * Gives the first of each sector's line to who is there, one after the other, until nobody waits or nobody is free.
 *
 * The order holds by the statement that assigns, not by this process being alone: it takes effect only for the first
 * whom that operator can answer, and only while the operator has room (see ConversationStore.changeFirst and
 * Operators.countUp).
 */
export class WaitingLine {
  readonly #store: ConversationStore
  readonly #sectors: Sectors
  readonly #operators: Operators
  readonly #plans: () => ConversationPlans
  readonly #commit: (planned: Planned) => Promise<void>
  readonly #clock: Clock
  readonly #log: Logger
  // Sectors whose line moves now; `again` when something changed since it looked. bounded by: MAX_MOVING
  readonly #moving = new Map<string, { again: boolean; readonly ended: Promise<void> }>()
  readonly #ending = new AbortController()
  #loop: Promise<void> | null = null

  constructor(options: {
    readonly store: ConversationStore
    readonly sectors: Sectors
    readonly operators: Operators
    readonly plans: () => ConversationPlans
    readonly commit: (planned: Planned) => Promise<void>
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.#store = options.store
    this.#sectors = options.sectors
    this.#operators = options.operators
    this.#plans = options.plans
    this.#commit = options.commit
    this.#clock = options.clock
    this.#log = options.log
  }

  start(): void {
    this.#loop ??= runLoop(
      {
        clock: this.#clock,
        everyMs: PASS_EVERY_MS,
        onError: (error) => this.#log.error({ err: error }, 'waiting lines could not be looked at'),
      },
      () => this.pass(),
      this.#ending.signal,
    )
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#loop
    await Promise.all([...this.#moving.values()].map(({ ended }) => ended))
  }

  /** All lines of all tenants. Every 15 s by itself. */
  async pass(): Promise<void> {
    for (const stray of await this.#store.strays(PASS_STEP)) {
      await this.#try(await this.#plans().rescue(stray))
    }
    let after = { tenant: '', id: '' }
    for (;;) {
      const sectors = await this.#sectors.withLine(after, PASS_STEP)
      for (const { tenant, id } of sectors) {
        if (this.#ending.signal.aborted) return
        await this.move(tenant, id)
      }
      const last = sectors.at(-1)
      if (last === undefined || sectors.length < PASS_STEP) return
      after = last
    }
  }

  /** Lets lines move without waiting for it. */
  wake(tenant: TenantId, { sector, operator }: Moved): void {
    if (sector !== null) this.#wakeSector(tenant, sector)
    if (operator !== null) this.wakeOperator(tenant, operator)
  }

  /** The lines of an operator who came, or has room again. */
  wakeOperator(tenant: TenantId, operator: OperatorId): void {
    if (this.#ending.signal.aborted) return
    this.#operators
      .sectorsOf(tenant, operator)
      .then((sectors) => {
        for (const sector of sectors) this.#wakeSector(tenant, sector)
      })
      .catch((error: unknown) => this.#failed(tenant, error))
  }

  #wakeSector(tenant: TenantId, sector: SectorId): void {
    this.move(tenant, sector).catch((error: unknown) => this.#failed(tenant, error))
  }

  #failed(tenant: TenantId, error: unknown): void {
    if (error instanceof EclusaError && error.code === storageErrors.STOPPED.code) return
    this.#log.warn({ tenant, err: error }, 'a waiting line did not move; the next pass tries again')
  }

  /** Resolves when the line has been looked at, all of it, after this was called. */
  async move(tenant: TenantId, sector: SectorId): Promise<void> {
    if (this.#ending.signal.aborted) return
    const key = `${tenant}:${sector}`
    const moving = this.#moving.get(key)
    if (moving !== undefined) {
      moving.again = true
      return moving.ended
    }
    if (this.#moving.size >= MAX_MOVING) return
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    const own = { again: true, ended }
    this.#moving.set(key, own)
    try {
      while (own.again && !this.#ending.signal.aborted) {
        own.again = false
        await this.#drain(tenant, sector)
      }
    } finally {
      this.#moving.delete(key)
      resolve()
    }
  }

  /** The first whom this operator can answer, on their own demand; undefined when there is none. */
  async takeFirst(
    tenant: TenantId,
    sector: SectorId,
    operator: { readonly id: OperatorId; readonly skills: readonly string[] },
  ): Promise<Conversation | undefined> {
    for (let lost = 0; lost < MAX_LOST; lost++) {
      const first = await this.#store.firstWaiting(tenant, sector, operator.skills)
      if (first === undefined) return undefined
      const planned = this.#plans().assignFirst(first, operator, operator.id)
      if ((await this.#try(planned)) && planned.outcome.done) return planned.outcome.conversation
    }
    return undefined
  }

  async #drain(tenant: TenantId, sector: SectorId): Promise<void> {
    const rule = (await this.#sectors.get(tenant, sector))?.rule
    if (rule === undefined || rule === 'manual') return
    let lost = 0
    while (lost < MAX_LOST && !this.#ending.signal.aborted) {
      const free = await this.#operators.free(tenant, sector)
      if (free.length === 0) return
      const skills = [...new Set(free.flatMap((one) => one.skills))]
      const first = await this.#store.firstWaiting(tenant, sector, skills)
      if (first === undefined) return
      const chosen = choose(free, first, first.rule ?? rule)
      if (await this.#try(this.#plans().assignFirst(first, chosen, 'line'))) lost = 0
      else lost++
    }
    if (lost > 0) this.#log.debug({ tenant, sector }, 'a waiting line lost every race; the next pass goes on')
  }

  /** False when somebody else was faster. */
  async #try(planned: Planned): Promise<boolean> {
    try {
      await this.#commit(planned)
      return true
    } catch (error) {
      const isRace =
        error instanceof EclusaError &&
        (error.code === storageErrors.CONFLICT.code || error.code === storageErrors.BUSY.code)
      if (!isRace) throw error
      return false
    }
  }
}

function choose(
  free: readonly FreeOperator[],
  first: ConversationRow,
  rule: Parameters<typeof chooseOperator>[1],
): FreeOperator {
  const fitting = free.filter(({ skills }) => skills.includes(first.skill ?? ''))
  const id = chooseOperator(fitting, rule, first.seed ?? seedOf(first.id))
  const chosen = fitting.find((one) => one.id === id)
  if (chosen === undefined) throw new Error('a conversation was found for which nobody is free')
  return chosen
}

/** Of the id's random part: the same conversation has the same one. */
function seedOf(id: ConversationId): number {
  let seed = 0
  for (const character of id) seed = (Math.imul(seed, 31) + character.charCodeAt(0)) >>> 0
  return seed
}
