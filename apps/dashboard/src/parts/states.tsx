import { Button, Skeleton } from '@mantine/core'
import type { UseQueryResult } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { ApiError } from '../api/client.ts'
import { type Texts, useTexts } from '../i18n/index.tsx'
import { Icon, type IconName } from './icon.tsx'

interface EmptyProps {
  readonly icon: IconName
  readonly title: string
  readonly children?: ReactNode
}

/** Where nothing is: what would be here, and how it comes. */
export function Empty({ icon, title, children }: EmptyProps): ReactNode {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon name={icon} size={22} />
      </span>
      <strong>{title}</strong>
      {children}
    </div>
  )
}

/** What went wrong, in the words of whoever looks at it. */
export function sentenceOf(error: unknown, { t }: Texts): string {
  if (!(error instanceof ApiError)) return String(error)
  if (error.code === 'NETWORK') return t('error.network')
  if (error.status === 403) {
    const scope = error.body['scope']
    return typeof scope === 'string' ? t('error.forbiddenHint', { scope }) : error.message
  }
  return error.message
}

export function ErrorNote({
  error,
  retry,
}: {
  readonly error: unknown
  readonly retry?: () => void
}): ReactNode {
  const texts = useTexts()
  const isForbidden = error instanceof ApiError && error.status === 403
  return (
    <div className="empty" role="alert">
      <span className="empty-icon">
        <Icon
          name={
            isForbidden ? 'lock' : error instanceof ApiError && error.code === 'NETWORK' ? 'offline' : 'alert'
          }
          size={22}
        />
      </span>
      <strong>{isForbidden ? texts.t('error.forbidden') : texts.t('error.title')}</strong>
      <span>{sentenceOf(error, texts)}</span>
      {retry !== undefined && !isForbidden && (
        <Button variant="default" size="xs" mt={8} onClick={retry}>
          {texts.t('common.retry')}
        </Button>
      )}
    </div>
  )
}

interface LoadedProps<T> {
  readonly query: Pick<UseQueryResult<T>, 'data' | 'error' | 'refetch'>
  readonly children: (data: T) => ReactNode
  /** Lines of the placeholder. */
  readonly lines?: number
}

/** What a query found; a placeholder before, the reason when it failed. What was found stays while it fails later. */
export function Loaded<T>({ query, children, lines = 4 }: LoadedProps<T>): ReactNode {
  if (query.data !== undefined) return children(query.data)
  if (query.error !== null) return <ErrorNote error={query.error} retry={() => void query.refetch()} />
  return <Placeholder lines={lines} />
}

function Placeholder({ lines = 4 }: { readonly lines?: number }): ReactNode {
  const { t } = useTexts()
  return (
    <div
      style={{ padding: 18, display: 'grid', gap: 12 }}
      aria-busy="true"
      aria-label={t('common.loading')}
      role="status"
    >
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} height={14} width={`${92 - ((line * 17) % 40)}%`} />
      ))}
    </div>
  )
}

export function PagePending(): ReactNode {
  return (
    <div className="page">
      <Placeholder lines={6} />
    </div>
  )
}
