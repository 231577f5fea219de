import type { ReactNode } from 'react'
import type { GatewayEvent } from '../api/types.ts'
import { type Texts, useTexts } from '../i18n/index.tsx'
import { isSessionState } from './session-state.tsx'

/** One event on a line: when, what, and whom it is about. */
export function EventLine({ event }: { readonly event: GatewayEvent }): ReactNode {
  const texts = useTexts()
  const { dateTime, time } = texts
  return (
    <li className="event-line">
      <time className="muted tabular small" dateTime={event.at} title={dateTime(event.at)}>
        {time(event.at)}
      </time>
      <span className="mono">{event.type}</span>
      <span className="muted small clip">{changeOf(event, texts) ?? factsOf(event)}</span>
    </li>
  )
}

/** From which state a number came to which, in words; null when that is not what happened. */
function changeOf({ type, payload }: GatewayEvent, { t }: Texts): string | null {
  const { previous, state } = payload
  if (type !== 'session.changed' || !isSessionState(previous) || !isSessionState(state)) return null
  return `${t(`state.${previous}`)} → ${t(`state.${state}`)}`
}

/** The short values of what an event says. */
export function factsOf({ payload }: Pick<GatewayEvent, 'payload'>): string {
  return Object.entries(payload)
    .filter(([name, value]) => name !== 'at' && (typeof value === 'string' || typeof value === 'number'))
    .slice(0, 4)
    .map(([, value]) => String(value).slice(0, 60))
    .join(' · ')
}
