import { type ReactNode, useEffect, useState } from 'react'
import { useTexts } from '../i18n/index.tsx'

/** The time now, drawn anew every `everyMs`. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return now
}

/** How long ago; its exact time on hovering. */
export function Ago({ at }: { readonly at: string | number | null }): ReactNode {
  const { t, duration, dateTime } = useTexts()
  const now = useNow(10_000)
  if (at === null) return <span className="muted">{t('common.never')}</span>
  const ms = now - new Date(at).getTime()
  return (
    <time dateTime={new Date(at).toISOString()} title={dateTime(at)} className="tabular">
      {ms < 5000 ? t('common.now') : t('common.ago', { time: duration(ms) })}
    </time>
  )
}
