import { queryOptions, useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { get } from '../api/client.ts'
import { historyQuery, memoryQuery } from '../api/queries.ts'
import type { CacheRow, CachesReport, MemoryReport } from '../api/types.ts'
import { type Texts, useTexts } from '../i18n/index.tsx'
import { Card, Page, Tile } from '../parts/page.tsx'
import { Plot } from '../parts/plot.tsx'
import { useSorting } from '../parts/sort.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { ceilingMark } from './overview.tsx'

const cachesQuery = queryOptions({
  queryKey: ['memory', 'caches'],
  queryFn: () => get<CachesReport>('/v1/caches'),
  refetchInterval: 5000,
})

/** How the ceiling is divided, what is used of it, and what gives way. */
export function MemoryScreen(): ReactNode {
  const { t, bytes, number } = useTexts()
  const memory = useQuery(memoryQuery)
  const caches = useQuery(cachesQuery)
  const history = useQuery(historyQuery('hour'))
  return (
    <Page title={t('nav.memory')} lead={t('memory.lead')}>
      <Loaded query={memory} lines={8}>
        {(report) => (
          <div className="stack">
            <Watermark report={report} />
            <div className="grid-tiles">
              <Tile
                name={t('memory.rss')}
                value={bytes(report.now.rssBytes)}
                note={t('overview.ofCeiling', {
                  used: bytes(report.now.rssBytes),
                  ceiling: bytes(report.plan.ceilingBytes),
                })}
              />
              <Tile
                name={t('memory.heap')}
                value={bytes(report.now.heapUsedBytes)}
                note={t('memory.limit', { limit: bytes(report.now.heapLimitBytes) })}
              />
              <Tile
                name={t('memory.external')}
                value={bytes(report.now.externalBytes)}
                note={t('memory.limit', { limit: bytes(report.plan.outsideBytes) })}
              />
              <Tile
                name={t('memory.caches')}
                value={bytes(report.now.cacheBytes)}
                note={t('memory.limit', { limit: bytes(report.now.cacheBudgetBytes) })}
              />
              <Tile
                name={t('memory.worst')}
                value={bytes(report.plan.worstCaseBytes)}
                note={t('memory.worstNote')}
              />
              <Tile
                name={t('memory.lag')}
                value={t('memory.ms', { ms: number(report.now.lagMs) })}
                note={t('memory.lagNote')}
                tone={report.pressure.busy ? 'warn' : undefined}
              />
            </div>
            <Card title={t('overview.memoryChart')}>
              <Loaded query={history}>
                {({ at, series }) =>
                  at.length < 2 ? (
                    <p className="muted small">{t('overview.chartEmpty')}</p>
                  ) : (
                    <Plot
                      at={at}
                      height={230}
                      format={bytes}
                      isBytes
                      mark={ceilingMark(report, t('memory.ceiling'))}
                      lines={[
                        {
                          name: t('memory.rss'),
                          values: series.rssBytes,
                          colour: '--series-1',
                          filled: true,
                        },
                        { name: t('memory.heap'), values: series.heapBytes, colour: '--series-2' },
                        { name: t('memory.external'), values: series.externalBytes, colour: '--series-4' },
                        { name: t('memory.caches'), values: series.cacheBytes, colour: '--series-3' },
                      ]}
                    />
                  )
                }
              </Loaded>
            </Card>
            <div className="grid-side">
              <Card title={t('memory.cachesTitle')} flush>
                <Loaded query={caches}>{(found) => <CacheTable rows={found.caches} />}</Loaded>
              </Card>
              <Card title={t('memory.tenants')}>
                <Loaded query={caches}>{(found) => <Tenants report={found} />}</Loaded>
              </Card>
            </div>
            <Card
              title={t('memory.plan')}
              aside={
                <span className="muted small">
                  {t('memory.planHint', { budget: bytes(report.plan.cacheBytes) })}
                </span>
              }
              flush
            >
              <PlanTable report={report} />
            </Card>
          </div>
        )}
      </Loaded>
    </Page>
  )
}

/** What is measured against a limit of its own. */
function nameOf(measure: string, t: Texts['t']): string {
  switch (measure) {
    case 'rss':
      return t('memory.rss')
    case 'heap':
      return t('memory.heap')
    case 'outside':
      return t('memory.external')
    default:
      return measure
  }
}

/** The process against its ceiling, with where measures begin. */
function Watermark({ report }: { readonly report: MemoryReport }): ReactNode {
  const { t, percent } = useTexts()
  const { level, percent: used, fullest, cacheShare } = report.pressure
  const tone = level === 0 ? 'var(--good)' : level === 1 ? 'var(--warn)' : 'var(--bad)'
  return (
    <Card>
      <div
        style={{
          display: 'flex',
          justifyContent: 'space-between',
          gap: 12,
          flexWrap: 'wrap',
          marginBottom: 10,
        }}
      >
        <strong>{t(level === 0 ? 'memory.calm' : 'memory.pressed')}</strong>
        <span className="muted small">
          {t('memory.fullest', { what: nameOf(fullest, t), percent: percent(used / 100) })}
        </span>
      </div>
      <div style={{ position: 'relative' }}>
        <div
          className="bar"
          style={{ height: 14, borderRadius: 7 }}
          role="img"
          aria-label={percent(used / 100)}
        >
          <span style={{ width: `${Math.max(1, Math.min(100, used))}%`, background: tone }} />
        </div>
        {[70, 80, 90].map((mark) => (
          <span key={mark} className="bar-mark" style={{ left: `${mark}%` }} title={percent(mark / 100)} />
        ))}
      </div>
      <p className="muted small" style={{ margin: '10px 0 0' }}>
        {level === 0 ? t('memory.steps') : t('memory.cachesGiveWay', { percent: percent(cacheShare) })}
      </p>
    </Card>
  )
}

function CacheTable({ rows }: { readonly rows: readonly CacheRow[] }): ReactNode {
  const { t, number, bytes, percent } = useTexts()
  const hitsOf = ({ hits, misses }: CacheRow): number => (hits + misses === 0 ? 0 : hits / (hits + misses))
  const { sorted, head } = useSorting(
    rows,
    {
      name: (row) => row.name,
      entries: (row) => row.entries,
      bytes: (row) => row.bytes,
      hits: hitsOf,
      evictions: (row) => row.evictions,
      expirations: (row) => row.expirations,
    },
    { column: 'bytes', down: true },
  )
  if (rows.length === 0) return <Empty icon="memory" title={t('memory.noCaches')} />
  return (
    <div className="scroll-x">
      <table className="table">
        <thead>
          <tr>
            {head('name', t('memory.cache'))}
            {head('entries', t('memory.entries'), true)}
            {head('bytes', t('memory.bytes'), true)}
            {head('hits', t('memory.hits'), true)}
            {head('evictions', t('memory.evictions'), true)}
            {head('expirations', t('memory.expirations'), true)}
          </tr>
        </thead>
        <tbody>
          {sorted.map((row) => (
            <tr key={row.name}>
              <td>
                <span className="mono">{row.name}</span>{' '}
                <span className="muted small">{`× ${number(row.count)}`}</span>
              </td>
              <td className="num">
                {number(row.entries)} <span className="muted small">{`/ ${number(row.maxEntries)}`}</span>
                <div className="bar" style={{ height: 4, marginTop: 4 }}>
                  <span
                    style={{
                      width: `${Math.min(100, (100 * row.entries) / Math.max(1, row.maxEntries))}%`,
                      background: 'var(--info)',
                    }}
                  />
                </div>
              </td>
              <td className="num">{bytes(row.bytes)}</td>
              <td className="num">{row.hits + row.misses === 0 ? '–' : percent(hitsOf(row))}</td>
              <td className="num">{number(row.evictions + row.shed)}</td>
              <td className="num">{number(row.expirations)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Tenants({ report }: { readonly report: CachesReport }): ReactNode {
  const { t, bytes } = useTexts()
  const { budget, tenants } = report
  return (
    <div className="stack">
      <dl className="facts">
        <dt>{t('memory.budget')}</dt>
        <dd className="tabular">
          {t('overview.ofCeiling', { used: bytes(budget.usedBytes), ceiling: bytes(budget.maxBytes) })}
        </dd>
        <dt>{t('memory.peak')}</dt>
        <dd className="tabular">{bytes(budget.peakBytes)}</dd>
      </dl>
      {tenants.map(({ tenant, usedBytes, shareBytes }) => (
        <div key={tenant}>
          <div
            style={{
              display: 'flex',
              justifyContent: 'space-between',
              gap: 8,
              fontSize: 13.5,
              marginBottom: 4,
            }}
          >
            <span className="clip">{tenant}</span>
            <span className="tabular muted">{`${bytes(usedBytes)} / ${bytes(shareBytes)}`}</span>
          </div>
          <div className="bar" style={{ height: 6 }}>
            <span
              style={{
                width: `${Math.max(1, Math.min(100, (100 * usedBytes) / Math.max(1, shareBytes)))}%`,
                background: 'var(--info)',
              }}
            />
          </div>
        </div>
      ))}
    </div>
  )
}

function PlanTable({ report }: { readonly report: MemoryReport }): ReactNode {
  const { t, bytes, number } = useTexts()
  const lines = [...report.plan.lines].sort((a, b) => b.worstBytes - a.worstBytes)
  return (
    <div className="scroll-x" style={{ maxHeight: 420, overflowY: 'auto' }}>
      <table className="table">
        <thead>
          <tr>
            <th>{t('memory.what')}</th>
            <th>{t('memory.place')}</th>
            <th className="num">{t('memory.most')}</th>
            <th className="num">{t('memory.worst')}</th>
          </tr>
        </thead>
        <tbody>
          {lines.map((line) => (
            <tr key={`${line.owner} ${line.name}`} title={`${line.boundedBy} · ${line.source}`}>
              <td>
                {line.name} <span className="muted small">{line.owner}</span>
              </td>
              <td className="muted">{line.place}</td>
              <td className="num">{number(line.maxCount)}</td>
              <td className="num">{bytes(line.worstBytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
