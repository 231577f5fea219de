import type { ReactNode } from 'react'
import type { SessionState } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'

const STATES: ReadonlySet<unknown> = new Set<SessionState>([
  'new',
  'starting',
  'qr',
  'code',
  'syncing',
  'online',
  'reconnecting',
  'logged_out',
  'banned',
  'failed',
  'stopped',
])

export function isSessionState(value: unknown): value is SessionState {
  return STATES.has(value)
}

export type Tone = 'good' | 'wait' | 'bad' | 'idle'

/** How it stands with a number, at a glance. */
export function toneOf(state: SessionState): Tone {
  switch (state) {
    case 'online':
      return 'good'
    case 'starting':
    case 'syncing':
    case 'reconnecting':
    case 'qr':
    case 'code':
      return 'wait'
    case 'logged_out':
    case 'banned':
    case 'failed':
      return 'bad'
    case 'new':
    case 'stopped':
      return 'idle'
    default:
      return state satisfies never
  }
}

export function SessionStateLabel({ state }: { readonly state: SessionState }): ReactNode {
  const { t } = useTexts()
  return <span className={`state state-${toneOf(state)}`}>{t(`state.${state}`)}</span>
}
