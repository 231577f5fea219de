import { Button, Modal, NativeSelect, SegmentedControl, Textarea, TextInput } from '@mantine/core'
import { queryOptions, useQuery } from '@tanstack/react-query'
import { type FormEvent, type ReactNode, useEffect, useState } from 'react'
import { ApiError, call, get, part, query } from '../api/client.ts'
import { instancesQuery } from '../api/queries.ts'
import type { DryRun, Finding, Flow } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { PickField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page, Tile } from '../parts/page.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay, useSession } from '../shell/gate.tsx'
import { type Document, StepEditor } from './flow-steps.tsx'

const activeQuery = queryOptions({
  queryKey: ['flows', 'active'],
  queryFn: () =>
    get<{
      total: number
      oldestMs: number
      flows: readonly { tenant: string; sector: string; count: number; oldestMs: number }[]
    }>('/v1/flows/active'),
  refetchInterval: 5000,
})

const flowsQuery = (tenant: string) =>
  queryOptions({
    queryKey: ['flows', tenant],
    queryFn: async () => (await get<{ items: readonly Flow[] }>(`/v1/tenants/${part(tenant)}/flows`)).items,
    enabled: tenant !== '',
  })

const TEMPLATES = [
  'departments',
  'single-team',
  'business-hours',
  'returning-customer',
  'satisfaction',
] as const
/** Typing rests for this long before the linter is asked. */
const LINT_AFTER_MS = 400

export function FlowsScreen(): ReactNode {
  const { t, number, duration } = useTexts()
  const { reach } = useSession()
  const instances = useQuery(instancesQuery)
  const tenants = [...new Set((instances.data ?? []).map(({ tenant }) => tenant))].sort()
  const [picked, setTenant] = useState('')
  const tenant = picked !== '' ? picked : reach === '*' ? (tenants.at(-1) ?? '') : reach
  const flows = useQuery(flowsQuery(tenant))
  const active = useQuery(activeQuery)
  const mayFlow = useMay('flow')
  const [name, setName] = useState<string | null>(null)
  const [isAdding, setAdding] = useState(false)
  const selected = name ?? flows.data?.[0]?.name ?? null
  return (
    <Page
      title={t('nav.flows')}
      lead={t('flows.lead')}
      actions={
        <>
          {tenants.length > 1 && (
            <PickField
              label={t('common.tenant')}
              value={tenant}
              onChange={(value) => {
                setTenant(value)
                setName(null)
              }}
              options={tenants.map((value) => ({ value, label: value }))}
            />
          )}
          {mayFlow && tenant !== '' && (
            <Button leftSection={<Icon name="plus" size={16} />} onClick={() => setAdding(true)}>
              {t('flows.add')}
            </Button>
          )}
        </>
      }
    >
      <div className="stack">
        <div className="grid-tiles">
          <Tile
            name={t('flows.active')}
            value={number(active.data?.total ?? 0)}
            note={t('flows.activeNote')}
          />
          <Tile
            name={t('flows.oldest')}
            value={
              active.data === undefined || active.data.total === 0 ? '–' : duration(active.data.oldestMs)
            }
            note={t('flows.oldestNote')}
          />
          {(active.data?.flows ?? []).slice(0, 4).map((one) => (
            <Tile
              key={`${one.tenant} ${one.sector}`}
              name={`${one.tenant}: ${one.sector}`}
              value={number(one.count)}
              note={duration(one.oldestMs)}
            />
          ))}
        </div>
        <Loaded query={flows}>
          {(items) =>
            items.length === 0 ? (
              <Card>
                <Empty icon="flow" title={t('flows.empty')}>
                  <span>{t('flows.emptyHint')}</span>
                </Empty>
              </Card>
            ) : (
              <>
                <div style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
                  {items.map((flow) => (
                    <Button
                      key={flow.name}
                      size="xs"
                      variant={flow.name === selected ? 'light' : 'default'}
                      onClick={() => setName(flow.name)}
                    >
                      {flow.name}
                    </Button>
                  ))}
                </div>
                {items
                  .filter((flow) => flow.name === selected)
                  .map((flow) => (
                    <Editor key={`${tenant} ${flow.name}`} tenant={tenant} flow={flow} />
                  ))}
              </>
            )
          }
        </Loaded>
      </div>
      <Modal
        opened={isAdding}
        onClose={() => setAdding(false)}
        title={t('flows.add')}
        centered
        closeButtonProps={{ 'aria-label': t('common.close') }}
      >
        <AddForm
          tenant={tenant}
          done={(made) => {
            setAdding(false)
            setName(made)
          }}
        />
      </Modal>
    </Page>
  )
}

function AddForm({
  tenant,
  done,
}: {
  readonly tenant: string
  readonly done: (name: string) => void
}): ReactNode {
  const { t, language } = useTexts()
  const action = useAction()
  const [name, setName] = useState('')
  const [template, setTemplate] = useState<string>(TEMPLATES[0])
  const make = async (): Promise<void> => {
    const document = await get<object>(`/v1/flow-templates/${template}${query({ language })}`)
    await call('PUT', `/v1/tenants/${part(tenant)}/flows/${part(name)}`, document)
  }
  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    if (await action.run(make, { stale: ['flows'] })) done(name)
  }
  return (
    <form style={{ display: 'grid', gap: 14 }} onSubmit={(event) => void submit(event)}>
      <TextInput
        label={t('common.name')}
        description={t('flows.nameHint')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        pattern="[a-z0-9][a-z0-9_\-]{0,39}"
        required
        data-autofocus
      />
      <NativeSelect
        label={t('flows.template')}
        value={template}
        onChange={(event) => setTemplate(event.currentTarget.value)}
        data={[...TEMPLATES]}
      />
      <Button type="submit" loading={action.busy}>
        {t('flows.make')}
      </Button>
    </form>
  )
}

function Editor({ tenant, flow }: { readonly tenant: string; readonly flow: Flow }): ReactNode {
  const { t } = useTexts()
  const stored = useQuery({
    queryKey: ['flows', tenant, flow.name, flow.lastVersion],
    queryFn: () =>
      get<{ definition: Document }>(
        `/v1/tenants/${part(tenant)}/flows/${part(flow.name)}${query({ version: flow.lastVersion })}`,
      ),
    staleTime: Infinity,
  })
  return (
    <Loaded query={stored} lines={8}>
      {({ definition }) => (
        <Workbench
          key={flow.lastVersion}
          tenant={tenant}
          flow={flow}
          stored={definition}
          title={t('flows.version', { version: String(flow.lastVersion) })}
        />
      )}
    </Loaded>
  )
}

interface WorkbenchProps {
  readonly tenant: string
  readonly flow: Flow
  readonly stored: Document
  readonly title: string
}

function Workbench({ tenant, flow, stored, title }: WorkbenchProps): ReactNode {
  const { t } = useTexts()
  const mayFlow = useMay('flow')
  const action = useAction()
  const [text, setText] = useState(() => JSON.stringify(stored, null, 2))
  const [view, setView] = useState<'steps' | 'json'>('steps')
  const document = parsed(text)
  const findings = useFindings(tenant, document)
  const isChanged = text !== JSON.stringify(stored, null, 2)
  const hasErrors = document === null || findings.some(({ level }) => level === 'error')
  const base = `/v1/tenants/${part(tenant)}/flows/${part(flow.name)}`
  const save = (): void => {
    if (document === null) return
    void action.run(() => call('PUT', base, document), { done: t('flows.saved'), stale: ['flows'] })
  }
  return (
    <div className="grid-side">
      <Card
        title={
          <span style={{ display: 'inline-flex', gap: 8, alignItems: 'center', flexWrap: 'wrap' }}>
            {flow.name} <span className="tag">{title}</span>
            {flow.publishedVersion !== null ? (
              <span className="tag tag-good">
                {t('flows.published', { version: String(flow.publishedVersion) })}
              </span>
            ) : (
              <span className="tag tag-warn">{t('flows.unpublished')}</span>
            )}
            <span className="muted small">
              <Ago at={flow.changedAt} />
            </span>
          </span>
        }
        aside={
          <SegmentedControl
            size="xs"
            value={view}
            onChange={(value) => setView(value === 'json' ? 'json' : 'steps')}
            data={[
              { value: 'steps', label: t('flows.steps') },
              { value: 'json', label: t('flows.json') },
            ]}
          />
        }
      >
        {view === 'json' || document === null ? (
          <Textarea
            aria-label={t('flows.json')}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            autosize
            minRows={16}
            maxRows={34}
            spellCheck={false}
            error={document === null ? t('flows.broken') : undefined}
            styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 12.5 } }}
          />
        ) : (
          <StepEditor
            document={document}
            findings={findings}
            mayChange={mayFlow}
            onChange={(next) => setText(JSON.stringify(next, null, 2))}
          />
        )}
        {mayFlow && (
          <div style={{ display: 'flex', gap: 8, marginTop: 16, flexWrap: 'wrap' }}>
            <Button disabled={!isChanged || document === null} loading={action.busy} onClick={save}>
              {t('flows.save')}
            </Button>
            <Button
              variant="default"
              disabled={isChanged || hasErrors || flow.publishedVersion === flow.lastVersion}
              loading={action.busy}
              onClick={() =>
                void action.run(() => call('POST', `${base}/publish`), {
                  done: t('flows.nowServes'),
                  stale: ['flows'],
                })
              }
            >
              {t('flows.publish')}
            </Button>
            {flow.publishedVersion !== null && (
              <Button
                variant="subtle"
                loading={action.busy}
                onClick={() => void action.run(() => call('DELETE', `${base}/publish`), { stale: ['flows'] })}
              >
                {t('flows.unpublish')}
              </Button>
            )}
          </div>
        )}
      </Card>
      <div className="stack">
        <Card title={t('flows.findings')}>
          <Findings findings={findings} isBroken={document === null} />
        </Card>
        {mayFlow && document !== null && <TryOut tenant={tenant} document={document} />}
      </div>
    </div>
  )
}

/** What the gateway's linter says of the document, a moment after it was changed. */
function useFindings(tenant: string, document: Document | null): readonly Finding[] {
  const [findings, setFindings] = useState<readonly Finding[]>([])
  const text = document === null ? '' : JSON.stringify(document)
  useEffect(() => {
    if (text === '') return undefined
    let isOver = false
    const timer = setTimeout(() => {
      call<{ findings: readonly Finding[] }>(
        'POST',
        `/v1/tenants/${part(tenant)}/flows/lint`,
        JSON.parse(text),
      )
        .then((answer) => {
          if (!isOver) setFindings(answer.findings)
        })
        .catch(() => {})
    }, LINT_AFTER_MS)
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [tenant, text])
  return findings
}

function Findings({
  findings,
  isBroken,
}: {
  readonly findings: readonly Finding[]
  readonly isBroken: boolean
}): ReactNode {
  const { t } = useTexts()
  if (isBroken) return <p className="state-bad small">{t('flows.broken')}</p>
  if (findings.length === 0) {
    return <span className="state state-good">{t('flows.fine')}</span>
  }
  return (
    <ul className="list-plain attention">
      {findings.slice(0, 30).map((finding) => (
        <li key={`${finding.field} ${finding.message}`}>
          <Icon
            name={finding.level === 'error' ? 'alert' : 'info'}
            size={16}
            style={{ marginTop: 2, color: finding.level === 'error' ? 'var(--bad)' : 'var(--warn)' }}
          />
          <span>
            {finding.message}
            {finding.step !== null && <span className="muted small">{` ${finding.step}`}</span>}
          </span>
        </li>
      ))}
    </ul>
  )
}

/** A contact who says these lines, against the document as it stands here; nothing is sent. */
function TryOut({ tenant, document }: { readonly tenant: string; readonly document: Document }): ReactNode {
  const { t, duration } = useTexts()
  const [lines, setLines] = useState('')
  const [run, setRun] = useState<DryRun | null>(null)
  const [fault, setFault] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const tryIt = async (): Promise<void> => {
    setBusy(true)
    setFault(null)
    try {
      const said = lines.split('\n').filter((line) => line.trim() !== '')
      const body = { definition: document, lines: said.map((say) => ({ say })) }
      setRun(await call<DryRun>('POST', `/v1/tenants/${part(tenant)}/flows/dry-run`, body))
    } catch (error) {
      setRun(null)
      setFault(error instanceof ApiError ? error.message : String(error))
    } finally {
      setBusy(false)
    }
  }
  return (
    <Card title={t('flows.try')}>
      <Textarea
        label={t('flows.says')}
        description={t('flows.saysHint')}
        value={lines}
        onChange={(event) => setLines(event.currentTarget.value)}
        autosize
        minRows={2}
        maxRows={6}
      />
      <Button
        mt={10}
        size="xs"
        loading={busy}
        disabled={lines.trim() === ''}
        leftSection={<Icon name="beaker" size={14} />}
        onClick={() => void tryIt()}
      >
        {t('flows.tryNow')}
      </Button>
      {fault !== null && <p className="state-bad small">{fault}</p>}
      {run !== null && (
        <div style={{ marginTop: 12 }} aria-live="polite">
          {run.entries.map((entry, nth) => (
            <div
              key={`${nth}`}
              className={
                entry.who === 'event' ? 'happened' : `bubble-row ${entry.who === 'flow' ? 'bubble-ours' : ''}`
              }
            >
              {entry.who === 'event' ? (
                entry.text
              ) : (
                <div className="bubble" style={{ fontSize: 13.5 }}>
                  <div className="bubble-words">{entry.text}</div>
                  <div className="bubble-foot">{duration(entry.afterMs)}</div>
                </div>
              )}
            </div>
          ))}
          <p className="muted small">
            {t('flows.ends', { outcome: run.outcome ?? run.waitsAt ?? run.state })}
          </p>
        </div>
      )}
    </Card>
  )
}

function parsed(text: string): Document | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Document) : null
  } catch {
    return null
  }
}
