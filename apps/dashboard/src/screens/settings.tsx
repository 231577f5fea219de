import { queryOptions, useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { get } from '../api/client.ts'
import { useTexts } from '../i18n/index.tsx'
import { SearchField } from '../parts/fields.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Empty, Loaded } from '../parts/states.tsx'

interface Setting {
  readonly name: string
  readonly value: string
  readonly origin: 'default' | 'environment'
  readonly values: string
  readonly meaning: string
}

const settingsQuery = queryOptions({
  queryKey: ['settings'],
  queryFn: async () => (await get<{ items: readonly Setting[] }>('/v1/settings')).items,
})

/** Every setting with its value, and where that comes from. */
export function SettingsScreen(): ReactNode {
  const { t } = useTexts()
  const settings = useQuery(settingsQuery)
  const [words, setWords] = useState('')
  const wanted = words.trim().toLowerCase()
  return (
    <Page title={t('nav.settings')} lead={t('settings.lead')}>
      <div className="stack">
        <SearchField value={words} onChange={setWords} />
        <Card flush>
          <Loaded query={settings} lines={10}>
            {(items) => {
              const found = items.filter((one) => `${one.name} ${one.meaning}`.toLowerCase().includes(wanted))
              if (found.length === 0) return <Empty icon="search" title={t('settings.none')} />
              return (
                <table className="table table-cards">
                  <thead>
                    <tr>
                      <th>{t('common.name')}</th>
                      <th>{t('settings.value')}</th>
                      <th>{t('settings.origin')}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {found.map((one) => (
                      <tr key={one.name}>
                        <td className="wide">
                          <span className="mono">{one.name}</span>
                          <div className="muted small">{one.meaning.replaceAll('`', '')}</div>
                        </td>
                        <td
                          className="mono"
                          style={{ overflowWrap: 'anywhere', minWidth: 190, maxWidth: 280 }}
                          title={one.values}
                        >
                          {one.value}
                        </td>
                        <td>
                          <span className={`tag ${one.origin === 'environment' ? 'tag-good' : ''}`}>
                            {t(`settings.${one.origin}`)}
                          </span>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              )
            }}
          </Loaded>
        </Card>
      </div>
    </Page>
  )
}
