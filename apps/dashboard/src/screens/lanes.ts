import type { StageOfMessage } from '../api/live.ts'
import type { Message } from '../api/types.ts'
import type { Texts } from '../i18n/texts.ts'

interface Lane {
  readonly key: string
  readonly chat: string
  readonly instance: string
  readonly messages: readonly Message[]
}

/** Messages that wait, by the chat they wait in: the one under way first, then as they were accepted. Pure. */
export function lanesOf(messages: readonly Message[]): readonly Lane[] {
  const lanes = new Map<string, { key: string; chat: string; instance: string; messages: Message[] }>()
  for (const message of messages) {
    const key = `${message.instance} ${message.chat}`
    const lane = lanes.get(key) ?? { key, chat: message.chat, instance: message.instance, messages: [] }
    lane.messages.push(message)
    lanes.set(key, lane)
  }
  const order = (one: Message): number => (one.state === 'PROCESSING' ? 0 : 1)
  for (const lane of lanes.values()) {
    lane.messages.sort((a, b) => order(a) - order(b) || Date.parse(a.acceptedAt) - Date.parse(b.acceptedAt))
  }
  return [...lanes.values()].sort((a, b) => b.messages.length - a.messages.length)
}

interface Step {
  readonly name: string
  readonly at: string | number | null
  readonly isNow: boolean
}

/** The way of a message, with the times that are known of it. */
export function timelineOf(
  message: Omit<Message, 'chat' | 'instance'>,
  stage: StageOfMessage | undefined,
  { t }: Texts,
): readonly Step[] {
  const steps: Step[] = [
    { name: t('queue.step.accepted'), at: message.acceptedAt, isNow: message.state === 'PENDING' },
  ]
  for (const name of ['reading', 'thinking', 'typing', 'sending'] as const) {
    const at = stage?.times[name] ?? null
    if (at !== null) steps.push({ name: t(`queue.step.${name}`), at, isNow: stage?.stage === name })
  }
  if (message.state === 'FAILED' || message.state === 'CANCELLED') {
    steps.push({ name: t(`message.${message.state}`), at: message.sentAt, isNow: true })
    return steps
  }
  steps.push({ name: t('queue.step.sent'), at: message.sentAt, isNow: message.state === 'SENT' })
  steps.push({
    name: t('queue.step.delivered'),
    at: message.deliveredAt,
    isNow: message.state === 'DELIVERED',
  })
  steps.push({ name: t('queue.step.read'), at: message.readAt, isNow: message.state === 'READ' })
  return steps
}
