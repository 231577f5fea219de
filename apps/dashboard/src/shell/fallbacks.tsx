import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { Empty } from '../parts/states.tsx'

/** A fault of the dashboard itself: the rest of it stays. */
export function PageCrashed({ error }: { readonly error: unknown }): ReactNode {
  const { t } = useTexts()
  return (
    <div className="page" role="alert">
      <Empty icon="alert" title={t('error.crash')}>
        <span>{t('error.crashHint')}</span>
        <code className="mono">{String(error)}</code>
        <Button variant="default" size="xs" mt={8} onClick={() => location.reload()}>
          {t('error.reload')}
        </Button>
      </Empty>
    </div>
  )
}

export function NotFound(): ReactNode {
  const { t } = useTexts()
  return (
    <div className="page">
      <Empty icon="search" title={t('error.notFound')}>
        <Link to="/">{t('error.home')}</Link>
      </Empty>
    </div>
  )
}
