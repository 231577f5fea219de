import { Button, SegmentedControl } from '@mantine/core'
import { useQueries, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { type ReactNode, useState } from 'react'
import {
  type HistorySpan,
  historyQuery,
  instanceQueueQuery,
  instancesQuery,
  memoryQuery,
  queueQuery,
} from '../api/queries.ts'
import type { History, Instance, InstanceQueue, MemoryReport } from '../api/types.ts'
import { type Texts, useTexts } from '../i18n/index.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page, Tile } from '../parts/page.tsx'
import { Plot } from '../parts/plot.tsx'
import { SessionStateLabel, toneOf } from '../parts/session-state.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useSession } from '../shell/gate.tsx'

/** Instances whose queues are asked for what needs attention; more are seen on their own pages. */
const MAX_ASKED = 30
const OLD_MS = 15 * 60_000
const MINUTE_MS = 60_000

export function OverviewScreen(): ReactNode {
  const texts = useTexts()
  const { t } = texts
  const isOperator = useSession().reach === '*'
  const instances = useQuery(instancesQuery)
  return (
    <Page
      title={t('overview.title')}
      lead={instances.data === undefined ? undefined : healthSentence(instances.data, texts)}
      actions={
        <Button component={Link} to="/numbers" variant="default" leftSection={<Icon name="plus" size={16} />}>
          {t('instances.add')}
        </Button>
      }
    >
      <div className="stack">
        <Tiles isOperator={isOperator} />
        {isOperator && <Charts />}
        <div className="grid-side">
          <Card title={t('overview.numbers')} flush>
            <Loaded query={instances}>{(items) => <Numbers items={items} />}</Loaded>
          </Card>
          <Card title={t('overview.attention')}>
            <Loaded query={instances}>
              {(items) => <Attention items={items} isOperator={isOperator} />}
            </Loaded>
          </Card>
        </div>
      </div>
    </Page>
  )
}

/** "2 of 3 numbers connected · 1 waits to be linked". */
export function healthSentence(instances: readonly Instance[], { t, n, number }: Texts): string {
  const total = instances.length
  if (total === 0) return t('overview.none')
  const count = (...states: readonly Instance['state'][]): number =>
    instances.filter(({ state }) => states.includes(state)).length
  const online = count('online')
  if (online === total) return n('overview.allWell', total)
  const parts = [t('overview.health', { online: number(online), total: number(total) })]
  const qr = count('qr', 'code', 'new')
  const reconnecting = count('reconnecting', 'starting', 'syncing')
  const trouble = count('logged_out', 'banned', 'failed')
  const stopped = count('stopped')
  if (qr > 0) parts.push(n('overview.part.qr', qr))
  if (reconnecting > 0) parts.push(n('overview.part.reconnecting', reconnecting))
  if (trouble > 0) parts.push(n('overview.part.trouble', trouble))
  if (stopped > 0) parts.push(n('overview.part.stopped', stopped))
  return parts.join(' · ')
}

function Tiles({ isOperator }: { readonly isOperator: boolean }): ReactNode {
  const { t, number, bytes } = useTexts()
  const queue = useQuery(queueQuery)
  const history = useQuery({ ...historyQuery('hour'), enabled: isOperator })
  const memory = useQuery({ ...memoryQuery, enabled: isOperator })
  const total = queue.data?.total
  const rate = (name: 'accepted' | 'sent' | 'inbound'): string =>
    history.data === undefined ? '–' : number(lastMinute(history.data, name), 1)
  const now = memory.data
  return (
    <div className="grid-tiles">
      {isOperator && (
        <>
          <Tile name={t('overview.inbound')} value={rate('inbound')} note={t('overview.perMinute')} />
          <Tile name={t('overview.accepted')} value={rate('accepted')} note={t('overview.perMinute')} />
          <Tile name={t('overview.sent')} value={rate('sent')} note={t('overview.perMinute')} />
        </>
      )}
      <Tile
        name={t('overview.waiting')}
        value={total === undefined ? '–' : number(total.pending + total.processing)}
        note={t('overview.nowInQueue')}
      />
      <Tile
        name={t('overview.failed')}
        value={total === undefined ? '–' : number(total.failed)}
        note={t('overview.inTheLast72h')}
        tone={(total?.failed ?? 0) > 0 ? 'bad' : undefined}
      />
      {isOperator && (
        <Tile
          name={t('overview.memory')}
          value={now === undefined ? '–' : bytes(now.now.rssBytes)}
          note={now === undefined ? undefined : <MemoryBar report={now} />}
          tone={now !== undefined && now.pressure.level > 0 ? 'warn' : undefined}
        />
      )}
    </div>
  )
}

function MemoryBar({ report }: { readonly report: MemoryReport }): ReactNode {
  const { t, bytes } = useTexts()
  const share = Math.min(1, report.now.rssBytes / report.plan.ceilingBytes)
  const text = t('overview.ofCeiling', {
    used: bytes(report.now.rssBytes),
    ceiling: bytes(report.plan.ceilingBytes),
  })
  return (
    <>
      <span className="bar" style={{ margin: '5px 0 4px', height: 6 }} role="img" aria-label={text}>
        <span
          style={{
            width: `${Math.max(1.5, share * 100)}%`,
            background: report.pressure.level > 0 ? 'var(--warn)' : 'var(--info)',
          }}
        />
      </span>
      {text}
    </>
  )
}

/** Messages in the last minute: of the newest six steps. */
export function lastMinute(history: History, name: 'accepted' | 'sent' | 'inbound' | 'failed'): number {
  const steps = Math.max(1, Math.round(MINUTE_MS / history.everyMs))
  return history.series[name].slice(-steps).reduce((sum, count) => sum + count, 0)
}

function Charts(): ReactNode {
  const { t, number, bytes, duration } = useTexts()
  const [span, setSpan] = useState<HistorySpan>('hour')
  const history = useQuery(historyQuery(span))
  const memory = useQuery(memoryQuery)
  const pick = (
    <SegmentedControl
      size="xs"
      value={span}
      onChange={(value) => setSpan(value === 'day' ? 'day' : 'hour')}
      data={[
        { value: 'hour', label: t('overview.lastHour') },
        { value: 'day', label: t('overview.lastDay') },
      ]}
    />
  )
  const plotted = (draw: (data: History) => ReactNode): ReactNode => (
    <Loaded query={history}>
      {(data) =>
        data.at.length < 2 ? <p className="muted small">{t('overview.chartEmpty')}</p> : draw(data)
      }
    </Loaded>
  )
  return (
    <div className="grid-2">
      <Card title={t('overview.traffic')} aside={pick}>
        {plotted(({ at, series, everyMs }) => (
          <>
            <Plot
              at={at}
              format={(value) => number(value)}
              lines={[
                { name: t('overview.inbound'), values: series.inbound, colour: '--series-2' },
                { name: t('overview.sent'), values: series.sent, colour: '--series-1', filled: true },
                { name: t('overview.waiting'), values: series.waiting, colour: '--series-3' },
              ]}
            />
            <p className="muted small" style={{ margin: '6px 0 0' }}>
              {t('overview.trafficHint', { step: duration(everyMs) })}
            </p>
          </>
        ))}
      </Card>
      <Card title={t('overview.memoryChart')}>
        {plotted(({ at, series }) => (
          <Plot
            at={at}
            height={215}
            format={bytes}
            isBytes
            mark={ceilingMark(memory.data, t('memory.ceiling'))}
            lines={[
              { name: t('memory.rss'), values: series.rssBytes, colour: '--series-1', filled: true },
              { name: t('memory.heap'), values: series.heapBytes, colour: '--series-2' },
              { name: t('memory.caches'), values: series.cacheBytes, colour: '--series-3' },
            ]}
          />
        ))}
      </Card>
    </div>
  )
}

/** The ceiling where it is near enough to be on the same picture. */
export function ceilingMark(
  report: MemoryReport | undefined,
  name: string,
): { readonly value: number; readonly name: string } | undefined {
  if (report === undefined || report.now.rssBytes < report.plan.ceilingBytes / 3) return undefined
  return { value: report.plan.ceilingBytes, name }
}

function Numbers({ items }: { readonly items: readonly Instance[] }): ReactNode {
  const { t } = useTexts()
  if (items.length === 0) {
    return (
      <Empty icon="phone" title={t('overview.none')}>
        <span>{t('overview.noneHint')}</span>
      </Empty>
    )
  }
  // Those that need somebody first.
  const order = { bad: 0, wait: 1, idle: 2, good: 3 } as const
  const sorted = [...items].sort((a, b) => order[toneOf(a.state)] - order[toneOf(b.state)])
  return (
    <ul className="list-plain">
      {sorted.slice(0, 8).map((instance) => (
        <li key={instance.id} style={{ borderTop: '1px solid var(--line)' }}>
          <Link to="/numbers/$id" params={{ id: instance.id }} className="row">
            <span style={{ minWidth: 0, flex: 1 }}>
              <strong className="clip" style={{ display: 'block', fontWeight: 570 }}>
                {instance.name}
              </strong>
              <span className="muted small clip" style={{ display: 'block' }}>
                {instance.tenant}
                {instance.number !== null && ` · ${instance.number}`}
              </span>
            </span>
            <span style={{ textAlign: 'right' }}>
              <SessionStateLabel state={instance.state} />
              <span className="muted small" style={{ display: 'block' }}>
                <Ago at={instance.since} />
              </span>
            </span>
            <Icon name="chevron" size={16} style={{ color: 'var(--muted)' }} />
          </Link>
        </li>
      ))}
    </ul>
  )
}

function Attention({
  items,
  isOperator,
}: {
  readonly items: readonly Instance[]
  readonly isOperator: boolean
}): ReactNode {
  const texts = useTexts()
  const memory = useQuery({ ...memoryQuery, enabled: isOperator })
  const queues = useQueries({ queries: items.slice(0, MAX_ASKED).map(({ id }) => instanceQueueQuery(id)) })
  const found = [
    ...items.flatMap((instance) => {
      const tone = toneOf(instance.state)
      if (tone !== 'bad' && instance.state !== 'qr') return []
      const text = `${instance.name}: ${instance.reason?.message ?? texts.t(`say.${instance.state}`)} ${texts.t(`do.${instance.state}`)}`
      return [{ key: instance.id, id: instance.id, text }]
    }),
    ...queues.flatMap(({ data }) => {
      const instance = items.find(({ id }) => id === data?.instance)
      return data === undefined || instance === undefined ? [] : queueTroubles(instance, data, texts)
    }),
  ]
  const pressure = memory.data?.pressure
  if (found.length === 0 && (pressure?.level ?? 0) === 0) {
    return (
      <p className="state state-good" style={{ margin: 0, whiteSpace: 'normal' }}>
        {texts.t('overview.calm')}
      </p>
    )
  }
  return (
    <ul className="list-plain attention">
      {pressure !== undefined && pressure.level > 0 && (
        <li>
          <Icon name="memory" style={{ color: 'var(--warn)', marginTop: 1 }} />
          {texts.t('overview.attentionMemory', {
            percent: texts.percent(pressure.percent / 100),
            measures: texts.t('memory.cachesGiveWay', { percent: texts.percent(pressure.cacheShare) }),
          })}
        </li>
      )}
      {found.slice(0, 12).map(({ key, id, text }) => (
        <li key={key}>
          <Icon name="alert" style={{ color: 'var(--warn)', marginTop: 1 }} />
          <Link to="/numbers/$id" params={{ id }} style={{ color: 'inherit' }}>
            {text}
          </Link>
        </li>
      ))}
    </ul>
  )
}

/** What of a queue somebody should look at. */
export function queueTroubles(
  { id, name }: Pick<Instance, 'id' | 'name'>,
  queue: InstanceQueue,
  { t, n, duration, dateTime }: Texts,
  now: number = Date.now(),
): readonly { readonly key: string; readonly id: string; readonly text: string }[] {
  const found: { key: string; id: string; text: string }[] = []
  const say = (key: string, text: string): void => void found.push({ key: `${id} ${key}`, id, text })
  if (queue.paused.instance || queue.paused.tenant) say('paused', t('overview.attentionPaused', { name }))
  if (queue.coldChatsPaused !== null) {
    say('cold', t('overview.attentionCold', { name, time: dateTime(queue.coldChatsPaused.until) }))
  }
  if (queue.proactive.level === 'SLOWED') say('slowed', t('overview.attentionSlowed', { name }))
  if (queue.proactive.level === 'PAUSED') say('stopped', t('overview.attentionStopped', { name }))
  if (queue.failed > 0) say('failed', n('overview.attentionFailed', queue.failed, { name }))
  const age = queue.oldestAcceptedAt === null ? 0 : now - Date.parse(queue.oldestAcceptedAt)
  if (age > OLD_MS) say('old', t('overview.attentionOld', { name, time: duration(age) }))
  return found
}
