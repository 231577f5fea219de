import type { ReactNode } from 'react'
import type { GatewayEvent } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'

/** One event on a line: when, what, and whom it is about. */
export function EventLine({ event }: { readonly event: GatewayEvent }): ReactNode {
  const { dateTime, time } = useTexts()
  return (
    <li className="event-line">
      <time className="muted tabular small" dateTime={event.at} title={dateTime(event.at)}>
        {time(event.at)}
      </time>
      <span className="mono">{event.type}</span>
      <span className="muted small clip">{factsOf(event)}</span>
    </li>
  )
}

/** The short values of what an event says. */
export function factsOf({ payload }: Pick<GatewayEvent, 'payload'>): string {
  return Object.entries(payload)
    .filter(([name, value]) => name !== 'at' && (typeof value === 'string' || typeof value === 'number'))
    .slice(0, 4)
    .map(([, value]) => String(value).slice(0, 60))
    .join(' · ')
}
