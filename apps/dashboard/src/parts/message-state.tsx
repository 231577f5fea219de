import type { ReactNode } from 'react'
import type { Stage } from '../api/live.ts'
import type { MessageState } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { Icon } from './icon.tsx'

interface Props {
  readonly state: MessageState | null
  /** What goes on just now, before it is sent. */
  readonly stage?: Stage | undefined
  /** With the word beside the sign. */
  readonly spoken?: boolean
}

/** Ticks as people know them, with what they mean for who does not see them; before them, what goes on. */
export function MessageTicks({ state, stage, spoken = false }: Props): ReactNode {
  const { t } = useTexts()
  if (stage !== undefined && (state === 'PENDING' || state === 'PROCESSING')) {
    return (
      <span className="stage">
        {t(`stage.${stage}`)}
        <span className="dots" aria-hidden="true">
          <i />
          <i />
          <i />
        </span>
      </span>
    )
  }
  if (state === null) return null
  const name = t(`message.${state}`)
  const tone = state === 'READ' ? 'var(--series-2)' : state === 'FAILED' ? 'var(--bad)' : 'var(--muted)'
  const icon =
    state === 'SENT'
      ? 'check'
      : state === 'DELIVERED' || state === 'READ'
        ? 'checks'
        : state === 'FAILED'
          ? 'alert'
          : state === 'CANCELLED'
            ? 'ban'
            : 'clock'
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: 5, color: tone }} title={name}>
      <Icon name={icon} size={15} {...(spoken ? {} : { label: name })} />
      {spoken && <span style={{ fontWeight: 550 }}>{name}</span>}
    </span>
  )
}
