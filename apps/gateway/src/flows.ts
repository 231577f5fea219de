import type { ContactDirectory } from '@eclusa/contacts'
import {
  type Conversations,
  conversationsForFlows,
  flowErrors,
  FlowLog,
  FlowRunner,
  type FlowRunnerOptions,
  FlowRunStore,
  Flows,
} from '@eclusa/flows'
import {
  type ChatId,
  type Clock,
  type ContactId,
  DAY,
  EclusaError,
  HOUR,
  type InboundOrigin,
  type InstanceId,
  type Lifecycle,
  type Logger,
  runLoop,
} from '@eclusa/kernel'
import type { Outbox } from '@eclusa/queue'
import type { Database, EventLog, Ownership, Sealer } from '@eclusa/storage'
import type { GuardedHttp } from './guarded-http/guarded-http.ts'

const SWEEP_EVERY_MS = HOUR
const KEEP_ENDED_MS = 7 * DAY
/** A message that was set aside may come again as late as this and still be known. */
const KEEP_HEARD_MS = 30 * DAY

/** Flows as the gateway runs them. */
export interface GatewayFlows extends Lifecycle {
  readonly definitions: Flows
  readonly runs: FlowRunStore
  readonly runner: FlowRunner
  /** Whether a flow that looks at business hours took this message: what is to be said outside of them, it says. */
  tellsHours(origin: InboundOrigin, contact: ContactId): Promise<boolean>
}

export function openFlows(options: {
  readonly database: Database
  readonly sealer: Sealer
  readonly events: EventLog
  readonly clock: Clock
  readonly log: Logger
  readonly ownership: Ownership
  readonly conversations: Conversations
  readonly directory: ContactDirectory
  readonly outbox: Outbox
  /** The one id under which a person's chat is queued. */
  readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  readonly http: GuardedHttp
}): GatewayFlows {
  const { conversations, clock, log, ownership } = options
  const definitions = new Flows(options)
  const runs = new FlowRunStore(options)
  const runner = new FlowRunner({
    runs,
    flows: definitions,
    conversations: conversationsForFlows(conversations),
    contacts: contactsFor(options.directory),
    messages: messagesFor(options.outbox, conversations, options.canonicalChat),
    lookups: lookupsFor(options.http),
    owns: (instance) => ownership.owns(instance),
    clock,
    log,
  })
  const flowLog = new FlowLog({ stats: () => runner.getActiveFlowsStats(), clock, log })
  const end = new AbortController()
  let starting: Promise<void> | null = null
  let sweeping: Promise<void> | null = null
  return {
    definitions,
    runs,
    runner,
    async tellsHours(origin, contact) {
      if (!(await runs.wasHeard(origin))) return false
      const [run] = await runs.listOf(origin.tenant, contact, 1)
      if (run === undefined) return false
      const { definition } = await definitions.version(run.tenant, run.flow, run.version)
      return definition.steps.some(({ kind }) => kind === 'hours')
    },
    async start() {
      // After a night there may be much to catch up with: nothing waits for it.
      starting ??= runner.start()
      await flowLog.start()
      const onError = (error: unknown): void =>
        log.error({ err: error }, 'sweeping the runs of flows failed; it comes again')
      sweeping ??= runLoop(
        { clock, everyMs: SWEEP_EVERY_MS, onError },
        async () => void (await runs.sweep({ endedForMs: KEEP_ENDED_MS, heardForMs: KEEP_HEARD_MS })),
        end.signal,
      )
    },
    async stop() {
      end.abort()
      await Promise.all([runner.stop(), starting, flowLog.stop(), sweeping])
    },
  }
}

function contactsFor(directory: ContactDirectory): FlowRunnerOptions['contacts'] {
  return {
    async facts({ tenant, contact }) {
      const { name, pushName, address, addresses, tags, fields } = await directory.get(tenant, contact)
      const numbers = [address, ...addresses].filter((one) => one.endsWith('@s.whatsapp.net'))
      return { name: name ?? pushName, number: numbers[0]?.split('@')[0] ?? null, tags, fields }
    },
    async change({ tenant, contact }, change) {
      await directory.change(tenant, contact, change)
    },
  }
}

function messagesFor(
  outbox: Outbox,
  conversations: Conversations,
  canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>,
): FlowRunnerOptions['messages'] {
  return {
    async enqueue({ tenant, instance, chat, conversation, text, key }) {
      await outbox.enqueue({
        tenant,
        instance,
        chat: await canonicalChat(instance, chat),
        content: { kind: 'text', text },
        purpose: 'automatic',
        // Said before a crash, perhaps in other words when a field has changed since: it is not said again.
        idempotency: { key, bodyHash: key },
        alongside: ({ seq }) => [
          conversations.plan.outboundEntry(
            { tenant, instance, id: conversation },
            { messageSeq: seq, text, by: 'flow' },
          ),
        ],
      })
    },
  }
}

export function lookupsFor(http: GuardedHttp): FlowRunnerOptions['lookups'] {
  return {
    async call({ method, url, headers, body, signal }) {
      const answer = await http.send({
        method,
        url,
        headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        accept: ['application/json'],
        signal,
      })
      if (answer.status < 200 || answer.status > 299) {
        throw new EclusaError(flowErrors.LOOKUP_FAILED, { details: { status: answer.status } })
      }
      try {
        return JSON.parse(Buffer.from(answer.body).toString()) as unknown
      } catch (cause) {
        throw new EclusaError(flowErrors.LOOKUP_FAILED, { details: { status: answer.status }, cause })
      }
    },
  }
}
