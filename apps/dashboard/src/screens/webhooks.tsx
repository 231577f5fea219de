import { Button, Modal, TextInput } from '@mantine/core'
import { queryOptions, useQuery } from '@tanstack/react-query'
import { type FormEvent, type ReactNode, useState } from 'react'
import { call, get, part, query } from '../api/client.ts'
import { instancesQuery } from '../api/queries.ts'
import type { Delivery, Webhook, WebhookHealth } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { useConfirm } from '../parts/confirm.tsx'
import { PickField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Secret } from '../parts/secret.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useToasts } from '../parts/toasts.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay, useSession } from '../shell/gate.tsx'

const STALE = ['webhooks'] as const
const OFTEN_MS = 5000

const webhooksQuery = (tenant: string) =>
  queryOptions({
    queryKey: ['webhooks', tenant],
    queryFn: async () =>
      (await get<{ items: readonly Webhook[] }>(`/v1/tenants/${part(tenant)}/webhooks`)).items,
    enabled: tenant !== '',
    refetchInterval: 15_000,
  })

export function WebhooksScreen(): ReactNode {
  const { t } = useTexts()
  const { reach } = useSession()
  const maySet = useMay('settings')
  const instances = useQuery(instancesQuery)
  const tenants = [...new Set((instances.data ?? []).map(({ tenant }) => tenant))].sort()
  const [picked, setTenant] = useState('')
  const tenant = picked !== '' ? picked : reach === '*' ? (tenants[0] ?? '') : reach
  const webhooks = useQuery(webhooksQuery(tenant))
  const [isAdding, setAdding] = useState(false)
  return (
    <Page
      title={t('nav.webhooks')}
      lead={t('webhooks.lead')}
      actions={
        <>
          {tenants.length > 1 && (
            <PickField
              label={t('common.tenant')}
              value={tenant}
              onChange={setTenant}
              options={tenants.map((value) => ({ value, label: value }))}
            />
          )}
          {maySet && tenant !== '' && (
            <Button leftSection={<Icon name="plus" size={16} />} onClick={() => setAdding(true)}>
              {t('webhooks.add')}
            </Button>
          )}
        </>
      }
    >
      <Loaded query={webhooks}>
        {(items) =>
          items.length === 0 ? (
            <Card>
              <Empty icon="webhook" title={t('webhooks.empty')}>
                <span>{t('webhooks.emptyHint')}</span>
              </Empty>
            </Card>
          ) : (
            <div className="stack">
              {items.map((webhook) => (
                <Endpoint key={webhook.id} webhook={webhook} />
              ))}
            </div>
          )
        }
      </Loaded>
      <Modal
        opened={isAdding}
        onClose={() => setAdding(false)}
        title={t('webhooks.add')}
        centered
        closeButtonProps={{ 'aria-label': t('common.close') }}
      >
        <AddForm tenant={tenant} />
      </Modal>
    </Page>
  )
}

function AddForm({ tenant }: { readonly tenant: string }): ReactNode {
  const { t } = useTexts()
  const action = useAction()
  const [url, setUrl] = useState('')
  const [types, setTypes] = useState('*')
  const [secret, setSecret] = useState<string | null>(null)
  const add = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    const body = { url: url.trim(), types: types.split(',').map((type) => type.trim()) }
    await action.run(
      async () => {
        const made = await call<{ secret: string }>('POST', `/v1/tenants/${part(tenant)}/webhooks`, body)
        setSecret(made.secret)
      },
      { stale: STALE },
    )
  }
  if (secret !== null) return <Secret text={secret} hint={t('webhooks.secretHint')} />
  return (
    <form onSubmit={(event) => void add(event)} style={{ display: 'grid', gap: 14 }}>
      <TextInput
        label={t('webhooks.url')}
        type="url"
        value={url}
        onChange={(event) => setUrl(event.currentTarget.value)}
        required
        data-autofocus
      />
      <TextInput
        label={t('webhooks.types')}
        description={t('webhooks.typesHint')}
        value={types}
        onChange={(event) => setTypes(event.currentTarget.value)}
        required
      />
      <Button type="submit" loading={action.busy}>
        {t('webhooks.make')}
      </Button>
    </form>
  )
}

function Endpoint({ webhook }: { readonly webhook: Webhook }): ReactNode {
  const { t, number, dateTime } = useTexts()
  const { id, url, enabled } = webhook
  const base = `/v1/webhooks/${part(id)}`
  const full = useQuery({
    queryKey: ['webhooks', 'one', id],
    queryFn: () => get<{ health: WebhookHealth }>(base),
    refetchInterval: OFTEN_MS,
  })
  const deliveries = useQuery({
    queryKey: ['webhooks', 'deliveries', id],
    queryFn: async () =>
      (await get<{ items: readonly Delivery[] }>(`${base}/deliveries${query({ limit: 15 })}`)).items,
    refetchInterval: OFTEN_MS,
  })
  const maySet = useMay('settings')
  const action = useAction()
  const toasts = useToasts()
  const { ask, dialog } = useConfirm()
  const health = full.data?.health
  const isFailing = health?.failingSince != null
  const test = async (): Promise<void> => {
    const answer = await call<{ delivered: boolean; error?: string | null }>('POST', `${base}/test`)
    if (answer.delivered) toasts.good(t('webhooks.testDone'))
    else throw new Error(answer.error ?? t('webhooks.testFailed'))
  }
  return (
    <Card
      title={<span className="mono">{url}</span>}
      aside={
        <span className={`state state-${enabled ? (isFailing ? 'bad' : 'good') : 'idle'}`}>
          {t(enabled ? (isFailing ? 'webhooks.failing' : 'webhooks.well') : 'webhooks.off')}
        </span>
      }
    >
      <div className="stack">
        <div style={{ display: 'flex', gap: '6px 18px', flexWrap: 'wrap', fontSize: 13.5 }}>
          <span className="muted">{webhook.types.join(', ')}</span>
          {health !== undefined && (
            <>
              <span>{`${t('webhooks.waiting')}: ${number(health.waiting)}`}</span>
              <span
                className={health.dead > 0 ? 'state-bad' : ''}
              >{`${t('webhooks.dead')}: ${number(health.dead)}`}</span>
              <span>
                {t('webhooks.lastSuccess')} <Ago at={health.lastSuccessAt} />
              </span>
              {health.lastError !== null && <span className="state-bad">{health.lastError}</span>}
            </>
          )}
        </div>
        {maySet && (
          <div style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
            <Button
              size="xs"
              variant="default"
              loading={action.busy}
              onClick={() => void action.run(test, { stale: STALE })}
            >
              {t('webhooks.test')}
            </Button>
            <Button
              size="xs"
              variant="default"
              loading={action.busy}
              onClick={() =>
                void action.run(() => call('PATCH', base, { enabled: !enabled }), { stale: STALE })
              }
            >
              {t(enabled ? 'webhooks.disable' : 'webhooks.enable')}
            </Button>
            {(health?.dead ?? 0) > 0 && (
              <Button
                size="xs"
                variant="default"
                loading={action.busy}
                onClick={() =>
                  void action.run(() => call('POST', `${base}/replay`, { dead: true }), { stale: STALE })
                }
              >
                {t('webhooks.replayDead')}
              </Button>
            )}
            <Button
              size="xs"
              variant="subtle"
              color="red"
              onClick={() =>
                ask({
                  title: t('common.delete'),
                  text: t('webhooks.deleteAsk', { url }),
                  act: () => action.run(() => call('DELETE', base), { stale: STALE }),
                })
              }
            >
              {t('common.delete')}
            </Button>
          </div>
        )}
        <Loaded query={deliveries} lines={2}>
          {(items) =>
            items.length === 0 ? (
              <p className="muted small" style={{ margin: 0 }}>
                {t('webhooks.noDeliveries')}
              </p>
            ) : (
              <div className="scroll-x">
                <table className="table">
                  <tbody>
                    {items.map((one) => (
                      <tr key={one.id}>
                        <td className="muted small tabular">{dateTime(one.at)}</td>
                        <td className="mono">{one.type}</td>
                        <td>
                          <span className={`state state-${one.delivered ? 'good' : 'bad'}`}>
                            {one.status ?? one.error ?? '–'}
                          </span>
                        </td>
                        <td className="num muted">{t('memory.ms', { ms: number(one.tookMs) })}</td>
                        <td className="num">
                          {maySet && one.event !== null && (
                            <Button
                              size="compact-xs"
                              variant="subtle"
                              onClick={() =>
                                void action.run(() => call('POST', `${base}/replay`, { event: one.event }), {
                                  done: t('webhooks.replayed'),
                                  stale: STALE,
                                })
                              }
                            >
                              {t('webhooks.replay')}
                            </Button>
                          )}
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )
          }
        </Loaded>
      </div>
      {dialog}
    </Card>
  )
}
