import type { Conversations, OperatorId, SectorId } from '@eclusa/flows'
import { type ChatId, type Clock, MINUTE, parseTenantId, SECOND, sleep, withDeadline } from '@eclusa/kernel'
import type { LoggedEvent } from '@eclusa/storage'
import type { GatewayFlows } from '../flows.ts'
import type { Instance } from '../instances/instance-store.ts'
import type { LiveView } from './live-view.ts'
import {
  CLINIC_TENANT,
  clinicFlow,
  clinicOperators,
  clinicSectors,
  type ClinicVisit,
  clinicVisits,
} from './script.ts'

export interface ClinicPorts {
  readonly conversations: Conversations
  readonly flows: GatewayFlows
  readonly view: LiveView
  readonly clock: Clock
  /** The contact writes; resolves with their chat when the message is in the journal. `answer`: what will be said to it. */
  readonly write: (visit: ClinicVisit, words: string, answer: string | null) => Promise<ChatId>
  /** The company writes; resolves when the contact has read it. */
  readonly answer: (instance: Instance, chat: ChatId, text: string) => Promise<void>
}

/** Longest wait for what a contact's words lead to; then the next visit begins. */
const WITHIN_MS = 2 * MINUTE
const BETWEEN_WORDS_MS = 4 * SECOND
const BETWEEN_VISITS_MS = 40 * SECOND

/**
 * A company with two sectors and two operators: contacts choose a sector in a menu, are assigned, answered, handed on
 * and closed, over and over.
 */
export class Clinic {
  readonly #ports: ClinicPorts
  readonly #instance: Instance
  // bounded by: the operators of the script
  readonly #operators = new Map<OperatorId, string>()
  // What a visit waits for, by type of event. bounded by: the contacts of the script, each waits for one
  readonly #awaited = new Map<string, (event: LoggedEvent) => void>()

  constructor(instance: Instance, ports: ClinicPorts) {
    this.#instance = instance
    this.#ports = ports
  }

  /** Sectors, operators and the flow; those of an earlier start are used again. */
  async prepare(): Promise<void> {
    const { conversations, flows } = this.#ports
    const tenant = parseTenantId(CLINIC_TENANT)
    const sectors = new Set((await conversations.sectors.list(tenant)).map(({ id }) => String(id)))
    for (const { id, name } of clinicSectors) {
      if (sectors.has(id)) continue
      const sector = { tenant, id: id as SectorId, name, isDefault: false, rule: 'least_busy' } as const
      await conversations.sectors.create(sector)
    }
    const known = await conversations.operators.list(tenant)
    for (const { name, sector } of clinicOperators) {
      const input = {
        name,
        isAdmin: false,
        capacity: 5,
        hours: null,
        sectors: [{ sector: sector as SectorId, skills: [] }],
      }
      const operator =
        known.find((one) => one.name === name) ?? (await conversations.operators.create(tenant, input))
      await conversations.operators.change(tenant, operator.id, { availability: 'online' })
      this.#operators.set(operator.id, name)
    }
    if ((await flows.definitions.serving(tenant, null)) === undefined) {
      const { flow, version } = await flows.definitions.put(tenant, 'main', clinicFlow)
      await flows.definitions.publish(tenant, flow, version)
    }
  }

  /** One contact after the other, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports
    for (let nth = 0; ; nth++) {
      const visit = clinicVisits[nth % clinicVisits.length] as ClinicVisit
      await this.#visit(visit, signal).catch(() => signal.throwIfAborted())
      await sleep(clock, BETWEEN_VISITS_MS, signal)
    }
  }

  /** Shows what becomes of conversations. */
  onEvent(event: LoggedEvent): void {
    if (event.instance !== this.#instance.id || !event.type.startsWith('conversation.')) return
    const { sector, operator } = event.payload as { sector: string | null; operator: OperatorId | null }
    const who = operator === null ? null : (this.#operators.get(operator) ?? 'an operator')
    const where = clinicSectors.find(({ id }) => id === sector)?.name ?? sector
    const told: Readonly<Record<string, string>> = {
      'conversation.opened': 'a conversation is opened',
      'conversation.waiting': `in line: ${where}`,
      'conversation.assigned': `assigned to ${who} (${where})`,
      'conversation.transferred': who === null ? `handed on to ${where}` : `handed on to ${who} (${where})`,
      'conversation.closed': 'the conversation is closed',
    }
    const text = told[event.type]
    if (text !== undefined) this.#ports.view.note({ at: event.at, text: `${this.#instance.name}  ${text}` })
    this.#awaited.get(event.type)?.(event)
  }

  async #visit(visit: ClinicVisit, signal: AbortSignal): Promise<void> {
    const { conversations, clock, write, answer } = this.#ports
    const [greeting, choice, thanks] = visit.says
    const chat = await write(visit, greeting, clinicFlow.steps[0].text)
    await this.#asked(chat)
    await sleep(clock, BETWEEN_WORDS_MS, signal)
    const assigned = this.#next('conversation.assigned')
    await write(visit, choice, null)
    const { conversation, operator } = (await assigned).payload as {
      conversation: Parameters<Conversations['get']>[1]
      operator: OperatorId
    }
    const ref = { tenant: this.#instance.tenant, id: conversation }
    await answer(this.#instance, chat, visit.answers[0])
    const other = [...this.#operators.keys()].find((id) => id !== operator)
    if (other !== undefined) {
      await conversations.transferToOperator(ref, { by: operator, operator: other })
      await answer(this.#instance, chat, visit.answers[1])
    }
    await write(visit, thanks, null)
    await sleep(clock, BETWEEN_WORDS_MS, signal)
    await conversations.close(ref, { by: other ?? operator, reason: 'settled' })
  }

  /** Resolves when the flow has asked what it is about. */
  async #asked(chat: ChatId): Promise<void> {
    const { flows, conversations, clock } = this.#ports
    const { tenant, id: instance } = this.#instance
    const asked = async (): Promise<void> => {
      for (;;) {
        const { items } = await conversations.list(
          tenant,
          { instance, state: 'open' },
          { before: Number.MAX_SAFE_INTEGER, limit: 10 },
        )
        const own = items.find((one) => one.chat === chat)
        if (own !== undefined && (await flows.runner.isWaiting({ instance }, own.contact))) return
        await sleep(clock, SECOND)
      }
    }
    await withDeadline(clock, WITHIN_MS, 'the menu of the demo', asked())
  }

  #next(type: string): Promise<LoggedEvent> {
    const { promise, resolve } = Promise.withResolvers<LoggedEvent>()
    this.#awaited.set(type, resolve)
    return withDeadline(this.#ports.clock, WITHIN_MS, type, promise).finally(() => this.#awaited.delete(type))
  }
}
