import { Button } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { get, query } from '../api/client.ts'
import type { AuditEntry } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Empty, Loaded } from '../parts/states.tsx'

interface AuditPage {
  readonly items: readonly AuditEntry[]
  readonly next: number | null
}

/** Who did what, newest first. */
export function AuditScreen(): ReactNode {
  const { t, dateTime } = useTexts()
  const audit = useInfiniteQuery({
    queryKey: ['audit'],
    queryFn: ({ pageParam }) => get<AuditPage>(`/v1/audit${query({ before: pageParam, limit: 100 })}`),
    initialPageParam: null as number | null,
    getNextPageParam: ({ next }) => next,
    maxPages: 20,
  })
  return (
    <Page title={t('nav.audit')} lead={t('audit.lead')}>
      <Card flush>
        <Loaded query={audit} lines={8}>
          {({ pages }) => {
            const items = pages.flatMap((page) => page.items)
            if (items.length === 0) return <Empty icon="audit" title={t('audit.empty')} />
            return (
              <>
                <table className="table table-cards">
                  <thead>
                    <tr>
                      <th>{t('audit.when')}</th>
                      <th>{t('audit.who')}</th>
                      <th>{t('audit.what')}</th>
                      <th>{t('common.tenant')}</th>
                      <th>{t('audit.outcome')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {items.map((entry) => (
                      <tr key={entry.seq}>
                        <td className="muted small tabular">{dateTime(entry.at)}</td>
                        <td>{entry.person ?? <span className="mono">{entry.key}</span>}</td>
                        <td className="wide">
                          <span className="mono">{entry.action}</span>
                          <div className="muted small clip">{Object.values(entry.object).join(' · ')}</div>
                        </td>
                        <td className="muted">{entry.tenant === '*' ? t('common.all') : entry.tenant}</td>
                        <td>
                          <span className={`state state-${entry.outcome === 'failed' ? 'bad' : 'good'}`}>
                            {t(`audit.${entry.outcome}`)}
                          </span>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
                {audit.hasNextPage && (
                  <div style={{ padding: 12, textAlign: 'center' }}>
                    <Button
                      size="xs"
                      variant="subtle"
                      loading={audit.isFetchingNextPage}
                      onClick={() => void audit.fetchNextPage()}
                    >
                      {t('common.more')}
                    </Button>
                  </div>
                )}
              </>
            )
          }}
        </Loaded>
      </Card>
    </Page>
  )
}
