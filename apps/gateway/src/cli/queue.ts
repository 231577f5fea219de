import type { ApiClient } from './api-client.ts'

export interface QueueCommand {
  readonly api: ApiClient
  readonly json: boolean
}

interface Counts {
  readonly pending: number
  readonly processing: number
  readonly failed: number
}

interface ListedMessage {
  readonly id: string
  readonly state: string
  readonly instance: string
  readonly chat: string
  readonly acceptedAt: string
  readonly failure: { readonly code: string } | null
}

interface Why {
  readonly id: string
  readonly state: string
  readonly waits: readonly {
    readonly reason: string
    readonly message: string
    readonly until: string | null
  }[]
  readonly expiresAt: string | null
}

interface InstanceQueue extends Counts {
  readonly oldestAcceptedAt: string | null
  readonly online: boolean
  readonly paused: { readonly tenant: boolean; readonly instance: boolean; readonly chats: readonly string[] }
  readonly coldChatsPaused: { readonly until: string; readonly code: string } | null
  readonly proactive: { readonly level: string; readonly cause: string | null; readonly since: string | null }
}

/** How many messages wait, are being sent, and failed: of every instance, or more about one. */
export async function queueStats({ api, json }: QueueCommand, instance: string | null): Promise<void> {
  if (instance !== null) {
    const queue = (await api.call(
      'GET',
      `/v1/instances/${encodeURIComponent(instance)}/queue`,
    )) as InstanceQueue
    print(json, queue, () => [
      countsOf(queue),
      `oldest: ${queue.oldestAcceptedAt ?? 'none'} | online: ${queue.online ? 'yes' : 'no'}`,
      ...(queue.paused.tenant ? ['the tenant is paused'] : []),
      ...(queue.paused.instance ? ['the instance is paused'] : []),
      ...queue.paused.chats.map((chat) => `${chat} is paused`),
      ...(queue.coldChatsPaused === null
        ? []
        : [`only conversations flow until ${queue.coldChatsPaused.until} (${queue.coldChatsPaused.code})`]),
      ...(queue.proactive.level === 'WELL'
        ? []
        : [
            `proactive messages are ${queue.proactive.level} since ${queue.proactive.since} (${queue.proactive.cause})`,
          ]),
    ])
    return
  }
  const all = (await api.call('GET', '/v1/queue')) as {
    readonly total: Counts
    readonly items: readonly (Counts & { readonly instance: string })[]
  }
  print(json, all, () => [
    countsOf(all.total),
    ...all.items.map((item) => `${item.instance}  ${countsOf(item)}`),
  ])
}

/** Messages, newest first. */
export async function queueList(
  { api, json }: QueueCommand,
  filter: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, value)
  const page = (await api.call('GET', `/v1/messages?${query.toString()}`)) as {
    readonly items: readonly ListedMessage[]
    readonly next: string | null
  }
  print(json, page, () => [
    ...page.items.map(({ id, state, acceptedAt, instance, chat, failure }) =>
      [id, state.padEnd(10), acceptedAt, instance, chat, failure?.code ?? ''].join('  ').trimEnd(),
    ),
    ...(page.next === null ? [] : [`more: --before ${page.next}`]),
  ])
}

/** Everything that keeps a message from being sent now. */
export async function queueWhy({ api, json }: QueueCommand, message: string): Promise<void> {
  const why = (await api.call('GET', `/v1/messages/${encodeURIComponent(message)}/why`)) as Why
  print(json, why, () => [
    `${why.id}  ${why.state}`,
    ...why.waits.map(
      ({ reason, message: words, until }) =>
        `${reason}: ${words}${until === null ? '' : ` (until ${until})`}`,
    ),
    ...(why.expiresAt === null ? [] : [`not sent after ${why.expiresAt}`]),
  ])
}

/** Cancels, moves to now or retries one message. */
export async function queueMessage(
  { api, json }: QueueCommand,
  verb: 'cancel' | 'now' | 'retry',
  message: string,
): Promise<void> {
  const path = `/v1/messages/${encodeURIComponent(message)}`
  const answer = (await (verb === 'cancel'
    ? api.call('DELETE', path)
    : api.call('POST', `${path}/${verb === 'now' ? 'send-now' : 'retry'}`))) as { id: string; state: string }
  print(json, answer, () => [`${answer.id}  ${answer.state}`])
}

/** Cancels a whole chat. */
export async function queueCancelChat(
  { api, json }: QueueCommand,
  instance: string,
  chat: string,
): Promise<void> {
  const path = `/v1/instances/${encodeURIComponent(instance)}/chats/${encodeURIComponent(chat)}/messages`
  const answer = (await api.call('DELETE', path)) as { cancelled: number; onTheWire: number }
  print(json, answer, () => [`cancelled ${answer.cancelled}, already on the wire ${answer.onTheWire}`])
}

/** Tries everything of an instance that failed, and whose text is still kept, again. */
export async function queueRetryFailed({ api, json }: QueueCommand, instance: string): Promise<void> {
  const path = `/v1/instances/${encodeURIComponent(instance)}/queue/retry-failed`
  const answer = (await api.call('POST', path)) as { retried: number }
  print(json, answer, () => [`${answer.retried} wait again`])
}

/** Pauses or resumes a tenant, an instance, or one chat of it. */
export async function queuePause(
  { api, json }: QueueCommand,
  verb: 'pause' | 'resume',
  what: { readonly tenant?: string; readonly instance?: string; readonly chat?: string },
): Promise<void> {
  const { tenant, instance = '', chat } = what
  let path = `/v1/instances/${encodeURIComponent(instance)}/queue`
  if (tenant !== undefined) path = `/v1/tenants/${encodeURIComponent(tenant)}/queue`
  else if (chat !== undefined)
    path = `/v1/instances/${encodeURIComponent(instance)}/chats/${encodeURIComponent(chat)}`
  const answer = await api.call('POST', `${path}/${verb}`)
  print(json, answer, () => [verb === 'pause' ? 'paused; messages are accepted and wait' : 'resumed'])
}

/** Proactive messages of an instance go on as ever, whatever was measured. */
export async function queueResumeProactive({ api, json }: QueueCommand, instance: string): Promise<void> {
  const path = `/v1/instances/${encodeURIComponent(instance)}/queue/resume-proactive`
  print(json, await api.call('POST', path), () => ['proactive messages go on'])
}

/** Texts that went to too many contacts within an hour. */
export async function queuePausedTexts({ api, json }: QueueCommand): Promise<void> {
  const answer = (await api.call('GET', '/v1/paused-texts')) as {
    readonly items: readonly { readonly id: string; tenant: string; until: string; allowed: boolean }[]
  }
  print(json, answer, () =>
    answer.items.length === 0
      ? ['none']
      : answer.items.map(
          ({ id, tenant, until, allowed }) =>
            `${id}  ${tenant}  ${allowed ? 'allowed' : 'paused'} until ${until}`,
        ),
  )
}

/** One of them goes on, for 24 hours. */
export async function queueAllowText({ api, json }: QueueCommand, text: string): Promise<void> {
  const answer = await api.call('POST', `/v1/paused-texts/${encodeURIComponent(text)}/allow`)
  print(json, answer, () => ['it goes on, for 24 hours'])
}

function countsOf({ pending, processing, failed }: Counts): string {
  return `PENDING: ${pending}, PROCESSING: ${processing}, FAILED: ${failed}`
}

function print(json: boolean, answer: unknown, lines: () => readonly string[]): void {
  process.stdout.write(json ? `${JSON.stringify(answer)}\n` : `${lines().join('\n')}\n`)
}
