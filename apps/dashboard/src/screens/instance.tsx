import { Button, SegmentedControl, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { type FormEvent, type ReactNode, useEffect, useState } from 'react'
import { call, part, request } from '../api/client.ts'
import { useEvents } from '../api/live.ts'
import { instanceQuery, instanceQueueQuery } from '../api/queries.ts'
import type { Instance, SessionState } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { useConfirm } from '../parts/confirm.tsx'
import { EventLine } from '../parts/event-line.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page } from '../parts/page.tsx'
import { SessionStateLabel } from '../parts/session-state.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { useToasts } from '../parts/toasts.tsx'
import { Ago, useNow } from '../parts/time.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay } from '../shell/gate.tsx'
import { isOff } from './instances.tsx'

/** While it is being linked its state is asked for often: a new code has no event of its own. */
const LINKING_MS = 2000
const MAX_SHOWN_EVENTS = 25

export function InstanceScreen(): ReactNode {
  const { id } = useParams({ from: '/numbers/$id' })
  const query = useQuery(instanceQuery(id))
  const isLinking = ['qr', 'code', 'starting', 'syncing'].includes(query.data?.state ?? '')
  useQuery({ ...instanceQuery(id), refetchInterval: isLinking ? LINKING_MS : false })
  return <Loaded query={query}>{(instance) => <Detail instance={instance} />}</Loaded>
}

function Detail({ instance }: { readonly instance: Instance }): ReactNode {
  const { t, dateTime } = useTexts()
  const mayControl = useMay('control')
  const mayErase = useMay('erase')
  const action = useAction()
  const navigate = useNavigate()
  const { ask, dialog } = useConfirm()
  const { id, name, state } = instance
  const turn = (verb: 'start' | 'stop'): void =>
    void action.run(() => call('POST', `/v1/instances/${part(id)}/${verb}`), { stale: ['instances'] })
  return (
    <Page
      title={name}
      lead={
        <>
          <Link to="/numbers" style={{ color: 'inherit' }}>
            {t('instances.title')}
          </Link>
          {` / ${instance.tenant}`}{' '}
          {instance.simulated && <span className="tag">{t('common.simulated')}</span>}
        </>
      }
      actions={
        mayControl && (
          <>
            {isOff(instance) ? (
              <Button
                leftSection={<Icon name="play" size={15} />}
                loading={action.busy}
                onClick={() => turn('start')}
              >
                {t('instances.start')}
              </Button>
            ) : (
              <Button
                variant="default"
                leftSection={<Icon name="stop" size={14} />}
                loading={action.busy}
                onClick={() => turn('stop')}
              >
                {t('instances.stop')}
              </Button>
            )}
            {instance.number !== null && (
              <Button
                variant="default"
                leftSection={<Icon name="unlink" size={15} />}
                onClick={() =>
                  ask({
                    title: t('instances.logout'),
                    text: t('instances.logoutAsk', { name }),
                    act: () =>
                      action.run(() => call('POST', `/v1/instances/${part(id)}/logout`), {
                        stale: ['instances'],
                      }),
                  })
                }
              >
                {t('instances.logout')}
              </Button>
            )}
          </>
        )
      }
    >
      <div className="grid-side">
        <div className="stack">
          <Card>
            <div style={{ display: 'flex', justifyContent: 'space-between', gap: 12, flexWrap: 'wrap' }}>
              <SessionStateLabel state={state} />
              <span className="muted small">
                <Ago at={instance.since} />
              </span>
            </div>
            <p style={{ margin: '10px 0 4px', fontSize: 15.5 }}>{t(`say.${state}`)}</p>
            {instance.reason !== null && (
              <p className="state-bad" style={{ margin: '0 0 4px', fontSize: 14 }}>
                {instance.reason.message}
              </p>
            )}
            <p className="muted" style={{ margin: 0, fontSize: 14 }}>
              {t(`do.${state}`)}
            </p>
            {instance.simulated && (
              <p className="muted small" style={{ margin: '12px 0 0' }}>
                {t('instances.simulatedNote')}
              </p>
            )}
          </Card>
          {mayControl && !instance.simulated && needsPhone(state) && <LinkPanel instance={instance} />}
          <Timeline id={id} />
        </div>
        <div className="stack">
          <QueueCard instance={instance} />
          <Card title={t('instances.about')}>
            <dl className="facts">
              <dt>{t('instances.number')}</dt>
              <dd className="tabular">{instance.number ?? '–'}</dd>
              <dt>{t('common.tenant')}</dt>
              <dd>{instance.tenant}</dd>
              <dt>{t('instances.created')}</dt>
              <dd>{dateTime(instance.createdAt)}</dd>
              <dt>{t('instances.id')}</dt>
              <dd className="mono">{id}</dd>
            </dl>
            {mayErase && (
              <Button
                mt={16}
                size="xs"
                variant="subtle"
                color="red"
                leftSection={<Icon name="trash" size={14} />}
                onClick={() =>
                  ask({
                    title: t('instances.delete'),
                    text: t('instances.deleteAsk', { name }),
                    confirm: t('instances.delete'),
                    async act() {
                      await call('DELETE', `/v1/instances/${part(id)}`)
                      await navigate({ to: '/numbers' })
                    },
                  })
                }
              >
                {t('instances.delete')}
              </Button>
            )}
          </Card>
        </div>
      </div>
      {dialog}
    </Page>
  )
}

/** Whether a phone has something to do. */
function needsPhone(state: SessionState): boolean {
  return (
    state === 'new' ||
    state === 'starting' ||
    state === 'qr' ||
    state === 'code' ||
    state === 'failed' ||
    state === 'logged_out'
  )
}

function LinkPanel({ instance }: { readonly instance: Instance }): ReactNode {
  const { t } = useTexts()
  const [way, setWay] = useState<'qr' | 'code'>(instance.state === 'code' ? 'code' : 'qr')
  return (
    <Card title={t('instances.linkTitle')}>
      <SegmentedControl
        fullWidth
        value={way}
        onChange={(value) => setWay(value === 'code' ? 'code' : 'qr')}
        data={[
          { value: 'qr', label: t('instances.byQr') },
          { value: 'code', label: t('instances.byCode') },
        ]}
        mb={18}
      />
      {way === 'qr' ? <QrPanel instance={instance} /> : <CodePanel instance={instance} />}
    </Card>
  )
}

interface ShownQr {
  readonly picture: string
  readonly expiresAt: number
}

/** The code stays until the next one is here, so that nothing flickers; it counts down to it. */
function QrPanel({ instance }: { readonly instance: Instance }): ReactNode {
  const { t, number } = useTexts()
  const action = useAction()
  const { id, state } = instance
  const [qr, setQr] = useState<ShownQr | null>(null)
  useEffect(() => {
    if (state !== 'qr') {
      setQr(null)
      return undefined
    }
    let ended = false
    let timer: ReturnType<typeof setTimeout> | undefined
    const fetchNext = async (): Promise<void> => {
      let again = LINKING_MS
      try {
        const response = await request('GET', `/v1/instances/${part(id)}/qr`, { accept: 'image/svg+xml' })
        const expiresAt = Date.parse(response.headers.get('expires') ?? '')
        const picture = `data:image/svg+xml,${encodeURIComponent(await response.text())}`
        if (ended) return
        setQr((before) => (before?.picture === picture ? before : { picture, expiresAt }))
        again = Math.min(LINKING_MS * 2, Math.max(600, expiresAt - Date.now() + 250))
      } catch {
        // Between two codes there is none.
      }
      if (!ended) timer = setTimeout(() => void fetchNext(), again)
    }
    void fetchNext()
    return () => {
      ended = true
      clearTimeout(timer)
    }
  }, [id, state])
  const now = useNow(500)
  if (state === 'failed' || state === 'new' || state === 'logged_out') {
    return (
      <div style={{ display: 'grid', gap: 14, justifyItems: 'center', textAlign: 'center' }}>
        {state === 'failed' && <p style={{ margin: 0, fontSize: 14 }}>{t('instances.qrOver')}</p>}
        <Button
          loading={action.busy}
          onClick={() =>
            void action.run(() => call('POST', `/v1/instances/${part(id)}/start`), { stale: ['instances'] })
          }
        >
          {t('instances.qrAgain')}
        </Button>
      </div>
    )
  }
  const seconds = qr === null ? 0 : Math.ceil((qr.expiresAt - now) / 1000)
  return (
    <div style={{ display: 'grid', gap: 12, justifyItems: 'center', textAlign: 'center' }}>
      <div className="qr" aria-busy={qr === null}>
        {qr === null ? (
          <span className="muted dots" style={{ color: '#5a6875' }}>
            <i />
            <i />
            <i />
          </span>
        ) : (
          <img src={qr.picture} alt={t('instances.qrAlt')} />
        )}
      </div>
      <span className="muted small tabular">
        {qr === null || seconds <= 0
          ? t('instances.qrNext')
          : t('instances.qrCountdown', { seconds: number(seconds) })}
      </span>
      <span style={{ fontSize: 14 }}>{t('do.qr')}</span>
    </div>
  )
}

function CodePanel({ instance }: { readonly instance: Instance }): ReactNode {
  const { t } = useTexts()
  const toasts = useToasts()
  const [phone, setPhone] = useState('')
  const [code, setCode] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    setBusy(true)
    try {
      const digits = phone.replaceAll(/[^\d]/g, '')
      const answer = await call<{ code: string }>('POST', `/v1/instances/${part(instance.id)}/pairing-code`, {
        number: `+${digits}`,
      })
      setCode(answer.code)
    } catch (error) {
      toasts.bad(error)
    } finally {
      setBusy(false)
    }
  }
  if (code !== null) {
    return (
      <div style={{ display: 'grid', gap: 10, textAlign: 'center' }}>
        <output className="pairing-code">{`${code.slice(0, 4)}-${code.slice(4)}`}</output>
        <span style={{ fontSize: 14 }}>{t('instances.codeHint')}</span>
        <span className="muted" style={{ fontSize: 14 }}>
          {t('do.code')}
        </span>
        <span className="muted small">{t('instances.codeNote')}</span>
        <Button variant="subtle" size="xs" onClick={() => setCode(null)}>
          {t('common.retry')}
        </Button>
      </div>
    )
  }
  return (
    <form onSubmit={(event) => void ask(event)} style={{ display: 'grid', gap: 12 }}>
      <TextInput
        label={t('instances.phoneNumber')}
        placeholder="+55 11 99999-0000"
        inputMode="tel"
        value={phone}
        onChange={(event) => setPhone(event.currentTarget.value)}
        required
      />
      <Button type="submit" loading={busy}>
        {t('instances.getCode')}
      </Button>
    </form>
  )
}

function QueueCard({ instance }: { readonly instance: Instance }): ReactNode {
  const { t, number } = useTexts()
  const queue = useQuery(instanceQueueQuery(instance.id))
  const mayQueue = useMay('queue')
  const action = useAction()
  return (
    <Card
      title={t('instances.queueCard')}
      aside={
        queue.data?.paused.instance === true && <span className="tag tag-warn">{t('instances.paused')}</span>
      }
    >
      <Loaded query={queue} lines={2}>
        {(data) => (
          <>
            <dl className="facts">
              <dt>{t('overview.waiting')}</dt>
              <dd className="tabular">{number(data.pending + data.processing)}</dd>
              <dt>{t('overview.failed')}</dt>
              <dd className={`tabular ${data.failed > 0 ? 'state-bad' : ''}`}>{number(data.failed)}</dd>
              <dt>{t('instances.oldest')}</dt>
              <dd>{data.oldestAcceptedAt === null ? '–' : <Ago at={data.oldestAcceptedAt} />}</dd>
            </dl>
            {mayQueue && (
              <Button
                mt={14}
                size="xs"
                variant="default"
                loading={action.busy}
                leftSection={<Icon name={data.paused.instance ? 'play' : 'pause'} size={14} />}
                onClick={() =>
                  void action.run(
                    () =>
                      call(
                        'POST',
                        `/v1/instances/${part(instance.id)}/queue/${data.paused.instance ? 'resume' : 'pause'}`,
                      ),
                    { stale: ['queue'] },
                  )
                }
              >
                {t(data.paused.instance ? 'instances.resumeSending' : 'instances.pauseSending')}
              </Button>
            )}
          </>
        )}
      </Loaded>
    </Card>
  )
}

function Timeline({ id }: { readonly id: string }): ReactNode {
  const { t } = useTexts()
  const events = useEvents().filter(({ instance }) => instance === id)
  return (
    <Card title={t('instances.timeline')} flush>
      {events.length === 0 ? (
        <Empty icon="events" title={t('instances.timelineEmpty')} />
      ) : (
        <ul className="list-plain">
          {events.slice(0, MAX_SHOWN_EVENTS).map((event) => (
            <EventLine key={event.id} event={event} />
          ))}
        </ul>
      )}
    </Card>
  )
}
