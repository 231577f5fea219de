import { Button, Modal, TextInput } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { type FormEvent, type ReactNode, useState } from 'react'
import { ApiError, call, part } from '../api/client.ts'
import { instancesQuery, queueQuery } from '../api/queries.ts'
import type { Instance } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { PickField, SearchField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page } from '../parts/page.tsx'
import { SessionStateLabel, toneOf } from '../parts/session-state.tsx'
import { useSorting } from '../parts/sort.tsx'
import { Empty, Loaded, sentenceOf } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay, useSession } from '../shell/gate.tsx'

/** Rows drawn at once; a search finds the others. */
const MAX_ROWS = 200

export function InstancesScreen(): ReactNode {
  const { t } = useTexts()
  const instances = useQuery(instancesQuery)
  const mayControl = useMay('control')
  const [isAdding, { open, close }] = useDisclosure(false)
  return (
    <Page
      title={t('instances.title')}
      lead={t('instances.lead')}
      actions={
        mayControl && (
          <Button leftSection={<Icon name="plus" size={16} />} onClick={open}>
            {t('instances.add')}
          </Button>
        )
      }
    >
      <Loaded query={instances}>{(items) => <Table items={items} />}</Loaded>
      <Modal
        opened={isAdding}
        onClose={close}
        title={t('instances.addTitle')}
        centered
        closeButtonProps={{ 'aria-label': t('common.close') }}
      >
        <AddForm />
      </Modal>
    </Page>
  )
}

function Table({ items }: { readonly items: readonly Instance[] }): ReactNode {
  const { t, number } = useTexts()
  const navigate = useNavigate()
  const queue = useQuery(queueQuery)
  const mayControl = useMay('control')
  const action = useAction()
  const [search, setSearch] = useState('')
  const [tenant, setTenant] = useState('')
  const counts = new Map(queue.data?.items.map((item) => [item.instance, item]))
  const tenants = [...new Set(items.map((item) => item.tenant))].sort()
  const words = search.trim().toLowerCase()
  const found = items.filter(
    (item) =>
      (tenant === '' || item.tenant === tenant) &&
      (words === '' ||
        `${item.name} ${item.tenant} ${item.number ?? ''} ${item.id}`.toLowerCase().includes(words)),
  )
  const waitingOf = (id: string): number => (counts.get(id)?.pending ?? 0) + (counts.get(id)?.processing ?? 0)
  const { sorted, head } = useSorting(
    found,
    {
      name: (item) => item.name,
      tenant: (item) => item.tenant,
      state: (item) => ['bad', 'wait', 'idle', 'good'].indexOf(toneOf(item.state)),
      waiting: (item) => waitingOf(item.id),
      failed: (item) => counts.get(item.id)?.failed ?? 0,
      since: (item) => -Date.parse(item.since),
    },
    { column: 'name', down: false },
  )
  const turn = (item: Instance, verb: 'start' | 'stop'): void =>
    void action.run(() => call('POST', `/v1/instances/${part(item.id)}/${verb}`), { stale: ['instances'] })
  if (items.length === 0) {
    return (
      <Card flush>
        <Empty icon="phone" title={t('instances.empty')}>
          <span>{t('instances.emptyHint')}</span>
        </Empty>
      </Card>
    )
  }
  return (
    <div className="stack">
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8 }}>
        <SearchField value={search} onChange={setSearch} />
        {tenants.length > 1 && (
          <PickField
            label={t('common.tenant')}
            value={tenant}
            onChange={setTenant}
            all={t('common.allTenants')}
            options={tenants.map((value) => ({ value, label: value }))}
          />
        )}
      </div>
      <Card flush>
        <table className="table table-cards">
          <thead>
            <tr>
              {head('name', t('common.name'))}
              {head('tenant', t('common.tenant'))}
              {head('state', t('common.state'))}
              {head('waiting', t('instances.queue'), true)}
              {head('failed', t('instances.failed'), true)}
              {head('since', t('instances.since'))}
              <th aria-label={t('common.details')} />
            </tr>
          </thead>
          <tbody>
            {sorted.slice(0, MAX_ROWS).map((item) => (
              <tr
                key={item.id}
                className="row-link"
                onClick={() => void navigate({ to: '/numbers/$id', params: { id: item.id } })}
              >
                <td>
                  <button
                    type="button"
                    className="sort"
                    style={{ fontWeight: 570 }}
                    onClick={() => void navigate({ to: '/numbers/$id', params: { id: item.id } })}
                  >
                    {item.name}
                  </button>
                  <div className="muted small tabular">
                    {item.number ?? '–'}{' '}
                    {item.simulated && <span className="tag">{t('common.simulated')}</span>}
                  </div>
                </td>
                <td data-label={t('common.tenant')} className="muted">
                  {item.tenant}
                </td>
                <td className="wide">
                  <SessionStateLabel state={item.state} />
                  {item.reason !== null && <div className="muted small">{item.reason.message}</div>}
                </td>
                <td className="num" data-label={t('instances.queue')}>
                  {number(waitingOf(item.id))}
                </td>
                <td className="num" data-label={t('instances.failed')}>
                  <span className={(counts.get(item.id)?.failed ?? 0) > 0 ? 'state-bad' : undefined}>
                    {number(counts.get(item.id)?.failed ?? 0)}
                  </span>
                </td>
                <td className="muted">
                  <Ago at={item.since} />
                </td>
                <td className="num" onClick={(event) => event.stopPropagation()}>
                  {mayControl &&
                    (isOff(item) ? (
                      <Button
                        size="xs"
                        variant="default"
                        disabled={action.busy}
                        onClick={() => turn(item, 'start')}
                      >
                        {t('instances.start')}
                      </Button>
                    ) : (
                      <Button
                        size="xs"
                        variant="default"
                        disabled={action.busy}
                        onClick={() => turn(item, 'stop')}
                      >
                        {t('instances.stop')}
                      </Button>
                    ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {sorted.length === 0 && <Empty icon="search" title={t('instances.noMatch')} />}
      </Card>
    </div>
  )
}

/** Whether it does nothing until somebody starts it. */
export function isOff({ state }: Pick<Instance, 'state'>): boolean {
  return (
    state === 'new' ||
    state === 'stopped' ||
    state === 'logged_out' ||
    state === 'failed' ||
    state === 'banned'
  )
}

function AddForm(): ReactNode {
  const texts = useTexts()
  const { t } = texts
  const { reach } = useSession()
  const endsDemo = useQuery(instancesQuery).data?.some(({ simulated }) => simulated) === true
  const navigate = useNavigate()
  const [tenant, setTenant] = useState(reach === '*' ? '' : reach)
  const [name, setName] = useState('')
  const [fault, setFault] = useState<{ field: string | null; text: string } | null>(null)
  const [busy, setBusy] = useState(false)
  const create = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    setBusy(true)
    setFault(null)
    try {
      const { id } = await call<{ id: string }>('POST', `/v1/tenants/${part(tenant.trim())}/instances`, {
        name: name.trim(),
      })
      await call('POST', `/v1/instances/${part(id)}/start`)
      await navigate({ to: '/numbers/$id', params: { id } })
    } catch (error) {
      setFault({ field: error instanceof ApiError ? error.field : null, text: sentenceOf(error, texts) })
    } finally {
      setBusy(false)
    }
  }
  return (
    <form onSubmit={(event) => void create(event)} style={{ display: 'grid', gap: 14 }}>
      <TextInput
        label={t('common.name')}
        description={t('instances.nameHint')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        error={fault?.field === 'name' ? fault.text : undefined}
        maxLength={100}
        required
        data-autofocus
      />
      {reach === '*' && (
        <TextInput
          label={t('common.tenant')}
          description={t('instances.tenantHint')}
          value={tenant}
          onChange={(event) => setTenant(event.currentTarget.value)}
          error={fault?.field === 'tenant' ? fault.text : undefined}
          required
        />
      )}
      {fault !== null && fault.field !== 'name' && fault.field !== 'tenant' && (
        <div role="alert" className="state-bad small">
          {fault.text}
        </div>
      )}
      {endsDemo && <div className="muted small">{t('instances.endsDemo')}</div>}
      <Button type="submit" loading={busy}>
        {t('instances.create')}
      </Button>
    </form>
  )
}
