import { Button, SegmentedControl } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { call, part } from '../api/client.ts'
import { useStages } from '../api/live.ts'
import {
  instanceQueueQuery,
  instancesQuery,
  messageQuery,
  messagesQuery,
  queueQuery,
  whyQuery,
} from '../api/queries.ts'
import type { Message, MessageState } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { addressOf } from '../parts/address.ts'
import { useConfirm } from '../parts/confirm.tsx'
import { PickField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { MessageTicks } from '../parts/message-state.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay } from '../shell/gate.tsx'
import { lanesOf, timelineOf } from './lanes.ts'

type Tab = 'lanes' | 'failed' | 'done'
const MAX_WAITING = 500
const STALE = ['queue', 'messages', 'message'] as const
const LANE_STATES = ['PROCESSING', 'PENDING'] as const

export function QueueScreen(): ReactNode {
  const { t, number } = useTexts()
  const [instance, setInstance] = useState('')
  const [tab, setTab] = useState<Tab>('lanes')
  const [selected, setSelected] = useState<Message | null>(null)
  const instances = useQuery(instancesQuery)
  const counts = useQuery(queueQuery)
  const own = counts.data?.items.find((item) => item.instance === instance) ?? counts.data?.total
  const waiting = (own?.pending ?? 0) + (own?.processing ?? 0)
  return (
    <Page
      title={t('nav.queue')}
      lead={t('queue.lead')}
      actions={
        <PickField
          label={t('common.number')}
          value={instance}
          onChange={(value) => {
            setInstance(value)
            setSelected(null)
          }}
          all={t('common.allNumbers')}
          options={(instances.data ?? []).map(({ id, name }) => ({ value: id, label: name }))}
        />
      }
    >
      <div className="stack">
        <div style={{ display: 'flex', flexWrap: 'wrap', gap: 10, justifyContent: 'space-between' }}>
          <SegmentedControl
            value={tab}
            onChange={(value) => setTab(value)}
            data={[
              { value: 'lanes', label: `${t('queue.lanes')} (${number(waiting)})` },
              { value: 'failed', label: `${t('queue.failed')} (${number(own?.failed ?? 0)})` },
              { value: 'done', label: t('queue.done') },
            ]}
          />
          {instance !== '' && <PauseButton instance={instance} />}
        </div>
        <div className="grid-side">
          {tab === 'lanes' ? (
            <Lanes instance={instance} selected={selected} onSelect={setSelected} />
          ) : (
            <Ended key={tab} instance={instance} tab={tab} selected={selected} onSelect={setSelected} />
          )}
          <div style={{ position: 'sticky', top: 16 }}>
            {selected === null ? (
              <Card>
                <Empty icon="queue" title={t('queue.pick')} />
              </Card>
            ) : (
              <Detail key={selected.id} id={selected.id} chat={selected.chat} />
            )}
          </div>
        </div>
      </div>
    </Page>
  )
}

function PauseButton({ instance }: { readonly instance: string }): ReactNode {
  const { t } = useTexts()
  const queue = useQuery(instanceQueueQuery(instance))
  const action = useAction()
  const mayQueue = useMay('queue')
  if (!mayQueue || queue.data === undefined) return null
  const isPaused = queue.data.paused.instance
  return (
    <Button
      variant="default"
      loading={action.busy}
      leftSection={<Icon name={isPaused ? 'play' : 'pause'} size={15} />}
      onClick={() =>
        void action.run(
          () => call('POST', `/v1/instances/${part(instance)}/queue/${isPaused ? 'resume' : 'pause'}`),
          { stale: STALE },
        )
      }
    >
      {t(isPaused ? 'instances.resumeSending' : 'instances.pauseSending')}
    </Button>
  )
}

interface ListProps {
  readonly instance: string
  readonly selected: Message | null
  readonly onSelect: (message: Message) => void
}

function Lanes({ instance, selected, onSelect }: ListProps): ReactNode {
  const { t, number } = useTexts()
  const [processing, pending] = LANE_STATES
  const under = useQuery(messagesQuery({ instance, state: processing, limit: MAX_WAITING }))
  const waits = useQuery(messagesQuery({ instance, state: pending, limit: MAX_WAITING }))
  const instances = useQuery(instancesQuery)
  const stages = useStages()
  const mayQueue = useMay('queue')
  const action = useAction()
  const { ask, dialog } = useConfirm()
  const names = new Map(instances.data?.map(({ id, name }) => [id, name]))
  return (
    <Card
      title={t('queue.lanesTitle')}
      aside={<span className="muted small">{t('queue.lanesHint')}</span>}
      flush
    >
      <Loaded query={waits}>
        {(page) => {
          const lanes = lanesOf([...(under.data?.items ?? []), ...page.items])
          if (lanes.length === 0) {
            return (
              <Empty icon="check" title={t('queue.empty')}>
                <span>{t('queue.emptyHint')}</span>
              </Empty>
            )
          }
          return (
            <ul className="list-plain">
              {lanes.slice(0, 100).map((lane) => (
                <li key={lane.key} className="lane">
                  <div style={{ display: 'flex', gap: 10, alignItems: 'center', marginBottom: 8 }}>
                    <span className="lane-who">
                      <strong className="tabular clip" style={{ fontWeight: 570 }}>
                        {addressOf(lane.chat)}
                      </strong>
                      <span className="muted small clip">{names.get(lane.instance) ?? lane.instance}</span>
                    </span>
                    <span className="tag" style={{ marginLeft: 'auto' }}>
                      {number(lane.messages.length)}
                    </span>
                    {mayQueue && (
                      <Button
                        size="compact-xs"
                        variant="subtle"
                        color="red"
                        style={{ flexShrink: 0 }}
                        onClick={() =>
                          ask({
                            title: t('queue.cancelChat'),
                            text: t('queue.cancelChatAsk', { chat: addressOf(lane.chat) }),
                            act: () =>
                              action.run(
                                () =>
                                  call(
                                    'DELETE',
                                    `/v1/instances/${part(lane.instance)}/chats/${part(lane.chat)}/messages`,
                                  ),
                                { stale: STALE },
                              ),
                          })
                        }
                      >
                        {t('queue.cancelChat')}
                      </Button>
                    )}
                  </div>
                  <div className="lane-track">
                    {lane.messages.slice(0, 30).map((message) => (
                      <button
                        type="button"
                        key={message.id}
                        className="lane-item"
                        aria-pressed={message.id === selected?.id}
                        onClick={() => onSelect(message)}
                      >
                        <MessageTicks state={message.state} stage={stages.get(message.id)?.stage} spoken />
                        <span className="muted small">
                          <Ago at={message.acceptedAt} />
                        </span>
                      </button>
                    ))}
                    {lane.messages.length > 30 && (
                      <span className="muted small">{`+${number(lane.messages.length - 30)}`}</span>
                    )}
                  </div>
                </li>
              ))}
            </ul>
          )
        }}
      </Loaded>
      {dialog}
    </Card>
  )
}

const DONE_STATES: readonly MessageState[] = ['READ', 'DELIVERED', 'SENT', 'CANCELLED']

function Ended({
  instance,
  tab,
  selected,
  onSelect,
}: ListProps & { readonly tab: 'failed' | 'done' }): ReactNode {
  const { t } = useTexts()
  const [limit, setLimit] = useState(50)
  const [state, setState] = useState<MessageState>(tab === 'failed' ? 'FAILED' : 'READ')
  const messages = useQuery(messagesQuery({ instance, state, limit }))
  const action = useAction()
  const mayQueue = useMay('queue')
  return (
    <Card
      title={t(tab === 'failed' ? 'queue.failedTitle' : 'queue.doneTitle')}
      aside={
        tab === 'done' ? (
          <PickField
            label={t('common.state')}
            value={state}
            onChange={(value) => setState(value as MessageState)}
            options={DONE_STATES.map((value) => ({ value, label: t(`message.${value}`) }))}
          />
        ) : (
          mayQueue &&
          instance !== '' && (
            <Button
              size="xs"
              variant="default"
              loading={action.busy}
              onClick={() =>
                void action.run(() => call('POST', `/v1/instances/${part(instance)}/queue/retry-failed`), {
                  stale: STALE,
                })
              }
            >
              {t('queue.retryAll')}
            </Button>
          )
        )
      }
      flush
    >
      <Loaded query={messages}>
        {({ items, next }) =>
          items.length === 0 ? (
            <Empty icon="check" title={t('queue.none')} />
          ) : (
            <>
              <table className="table table-cards">
                <thead>
                  <tr>
                    <th>{t('queue.chat')}</th>
                    <th>{t('common.state')}</th>
                    <th>{t('queue.accepted')}</th>
                  </tr>
                </thead>
                <tbody>
                  {items.map((message) => (
                    <tr
                      key={message.id}
                      className="row-link"
                      aria-selected={message.id === selected?.id}
                      onClick={() => onSelect(message)}
                    >
                      <td className="tabular">
                        <button type="button" className="sort" onClick={() => onSelect(message)}>
                          {addressOf(message.chat)}
                        </button>
                      </td>
                      <td className="wide">
                        <MessageTicks state={message.state} spoken />
                        {message.failure !== null && (
                          <div className="muted small">{message.failure.message}</div>
                        )}
                      </td>
                      <td className="muted">
                        <Ago at={message.acceptedAt} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
              {next !== null && limit < 500 && (
                <div style={{ padding: 12, textAlign: 'center' }}>
                  <Button
                    size="xs"
                    variant="subtle"
                    onClick={() => setLimit((before) => Math.min(500, before * 2))}
                  >
                    {t('common.more')}
                  </Button>
                </div>
              )}
            </>
          )
        }
      </Loaded>
    </Card>
  )
}

function Detail({ id, chat }: { readonly id: string; readonly chat: string }): ReactNode {
  const texts = useTexts()
  const { t, dateTime } = texts
  const message = useQuery(messageQuery(id))
  const stage = useStages().get(id)
  const isWaiting = message.data?.state === 'PENDING' || message.data?.state === 'PROCESSING'
  const why = useQuery({ ...whyQuery(id), enabled: isWaiting })
  const mayQueue = useMay('queue')
  const action = useAction()
  const act = (method: string, verb: string): void =>
    void action.run(() => call(method, `/v1/messages/${part(id)}${verb}`), { stale: STALE })
  return (
    <Card title={t('queue.message')} aside={<span className="mono muted">{id}</span>}>
      <Loaded query={message}>
        {(one) => (
          <div className="stack">
            <div style={{ display: 'flex', justifyContent: 'space-between', gap: 8 }}>
              <span className="tabular">{addressOf(chat)}</span>
              <MessageTicks state={one.state} stage={stage?.stage} spoken />
            </div>
            {one.failure !== null && (
              <p className="state-bad" style={{ margin: 0, fontSize: 13.5 }}>
                {one.failure.message} <span className="mono">{one.failure.code}</span>
              </p>
            )}
            <ol className="timeline">
              {timelineOf(one, stage, texts).map(({ name, at, isNow }) => (
                <li key={name} data-done={at !== null} data-now={isNow}>
                  <span>{name}</span>
                  <span className="muted small tabular">{at === null ? '' : dateTime(at)}</span>
                </li>
              ))}
            </ol>
            {isWaiting && (why.data?.waits.length ?? 0) > 0 && (
              <div>
                <h3 style={{ margin: '0 0 6px', fontSize: 13 }}>{t('queue.why')}</h3>
                <ul className="list-plain attention">
                  {why.data?.waits.map(({ reason, message: text, until }) => (
                    <li key={reason}>
                      <Icon name="clock" size={15} style={{ marginTop: 2, color: 'var(--muted)' }} />
                      <span>
                        {text}
                        {until !== null && (
                          <span className="muted small"> {t('queue.until', { time: dateTime(until) })}</span>
                        )}
                      </span>
                    </li>
                  ))}
                </ul>
                {why.data?.expiresAt != null && (
                  <p className="muted small" style={{ margin: '8px 0 0' }}>
                    {t('queue.expires', { time: dateTime(why.data.expiresAt) })}
                  </p>
                )}
              </div>
            )}
            {mayQueue && (
              <div style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
                {one.state === 'PENDING' && (
                  <>
                    <Button
                      size="xs"
                      leftSection={<Icon name="now" size={14} />}
                      loading={action.busy}
                      onClick={() => act('POST', '/send-now')}
                    >
                      {t('queue.now')}
                    </Button>
                    <Button
                      size="xs"
                      variant="default"
                      color="red"
                      loading={action.busy}
                      onClick={() => act('DELETE', '')}
                    >
                      {t('queue.cancel')}
                    </Button>
                  </>
                )}
                {one.state === 'FAILED' && (
                  <Button
                    size="xs"
                    leftSection={<Icon name="retry" size={14} />}
                    loading={action.busy}
                    onClick={() => act('POST', '/retry')}
                  >
                    {t('queue.retry')}
                  </Button>
                )}
              </div>
            )}
          </div>
        )}
      </Loaded>
    </Card>
  )
}
