import { ActionIcon, Button, Modal, NativeSelect, SegmentedControl, Textarea } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type FormEvent, type ReactNode, useEffect, useRef, useState } from 'react'
import { call, part } from '../api/client.ts'
import { useStages } from '../api/live.ts'
import { contactQuery, conversationQuery, operatorsQuery, sectorsQuery, threadQuery } from '../api/queries.ts'
import type { Contact, Conversation, HistoryEntry } from '../api/types.ts'
import { type Texts, useTexts } from '../i18n/index.tsx'
import { addressOf } from '../parts/address.ts'
import { useConfirm } from '../parts/confirm.tsx'
import { Icon } from '../parts/icon.tsx'
import { MarkedText } from '../parts/marked-text.tsx'
import { Avatar, nameOf } from '../parts/person.tsx'
import { MessageTicks } from '../parts/message-state.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { useToasts } from '../parts/toasts.tsx'
import { useAction } from '../parts/use-action.ts'
import { useMay } from '../shell/gate.tsx'

const STALE = ['conversation', 'conversations', 'history', 'sectors'] as const
/** Nearer to the end than this counts as being at it: what comes then is shown. */
const AT_END_PX = 120

export function Thread({ id, back }: { readonly id: string; readonly back: ReactNode }): ReactNode {
  const conversation = useQuery(conversationQuery(id))
  return (
    <Loaded query={conversation} lines={6}>
      {(one) => (
        <div className="thread">
          <Head conversation={one} back={back} />
          <Entries conversation={one} />
          <Composer conversation={one} />
        </div>
      )}
    </Loaded>
  )
}

function Head({
  conversation,
  back,
}: {
  readonly conversation: Conversation
  readonly back: ReactNode
}): ReactNode {
  const { t } = useTexts()
  const { id, tenant, state } = conversation
  const contact = useQuery(contactQuery(tenant, conversation.contact))
  const operators = useQuery(operatorsQuery(tenant))
  const sectors = useQuery(sectorsQuery(tenant))
  const action = useAction()
  const mayWork = useMay('app')
  const mayErase = useMay('erase')
  const [isMoving, setMoving] = useState(false)
  const { ask, dialog } = useConfirm()
  const name = nameOf(contact.data, conversation.chat)
  const operator =
    operators.data?.find((one) => one.id === conversation.operator)?.name ?? conversation.operator
  const sector = sectors.data?.find((one) => one.id === conversation.sector)?.name ?? conversation.sector
  const post = (verb: string, body: object = {}): void =>
    void action.run(() => call('POST', `/v1/conversations/${part(id)}/${verb}`, body), { stale: STALE })
  const where =
    state === 'closed'
      ? t('inbox.closed')
      : state === 'assigned'
        ? t('inbox.with', { name: operator ?? '–' })
        : conversation.waitingSince !== null
          ? t('inbox.waitsIn', { sector: sector ?? '–' })
          : t('inbox.open')
  return (
    <header className="thread-head">
      {back}
      <Avatar name={name} />
      <div style={{ minWidth: 0, flex: 1 }}>
        <div style={{ display: 'flex', alignItems: 'center', gap: 8 }}>
          <h2 className="clip" style={{ margin: 0, fontSize: 16 }}>
            {name}
          </h2>
          {contact.data?.optedOutAt != null && <span className="tag tag-bad">{t('inbox.optedOut')}</span>}
          {contact.data?.consent === true && <span className="tag tag-good">{t('inbox.consent')}</span>}
        </div>
        <div className="muted small clip thread-where">
          {[addressOf(conversation.chat), where].join(' · ')}
        </div>
      </div>
      <div style={{ display: 'flex', gap: 6, flexWrap: 'wrap', justifyContent: 'flex-end' }}>
        {mayWork && state !== 'closed' && (
          <>
            <Button
              size="xs"
              variant="default"
              leftSection={<Icon name="transfer" size={14} />}
              aria-label={t(state === 'assigned' ? 'inbox.transfer' : 'inbox.assign')}
              onClick={() => setMoving(true)}
            >
              <span className="hide-small">
                {t(state === 'assigned' ? 'inbox.transfer' : 'inbox.assign')}
              </span>
            </Button>
            <Button
              size="xs"
              variant="default"
              loading={action.busy}
              leftSection={<Icon name="check" size={14} />}
              aria-label={t('inbox.close')}
              onClick={() => post('close', { reason: 'resolved' })}
            >
              <span className="hide-small">{t('inbox.close')}</span>
            </Button>
          </>
        )}
        {mayWork && state === 'closed' && (
          <Button size="xs" variant="default" loading={action.busy} onClick={() => post('reopen')}>
            {t('inbox.reopen')}
          </Button>
        )}
        {mayErase && (
          <ActionIcon
            variant="subtle"
            color="red"
            size={30}
            aria-label={t('inbox.erase')}
            title={t('inbox.erase')}
            onClick={() =>
              ask({
                title: t('inbox.erase'),
                text: t('inbox.eraseAsk', { name }),
                confirm: t('inbox.eraseConfirm'),
                act: () =>
                  action.run(
                    () =>
                      call('DELETE', `/v1/tenants/${part(tenant)}/contacts/${part(conversation.contact)}`),
                    {
                      done: t('inbox.erased'),
                      stale: [...STALE, 'contact'],
                    },
                  ),
              })
            }
          >
            <Icon name="trash" size={16} />
          </ActionIcon>
        )}
      </div>
      <Modal
        opened={isMoving}
        onClose={() => setMoving(false)}
        title={t(state === 'assigned' ? 'inbox.transfer' : 'inbox.assign')}
        centered
        closeButtonProps={{ 'aria-label': t('common.close') }}
      >
        <MoveForm conversation={conversation} done={() => setMoving(false)} />
      </Modal>
      {dialog}
    </header>
  )
}

function MoveForm({
  conversation,
  done,
}: {
  readonly conversation: Conversation
  readonly done: () => void
}): ReactNode {
  const { t } = useTexts()
  const { id, tenant, state } = conversation
  const operators = useQuery(operatorsQuery(tenant))
  const sectors = useQuery(sectorsQuery(tenant))
  const action = useAction()
  const [to, setTo] = useState('')
  const move = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    const [kind, name = ''] = to.split(' ')
    const isOperator = kind === 'operator'
    const verb = state === 'assigned' ? 'transfer' : isOperator ? 'assign' : 'wait'
    const body = isOperator ? { operator: name, evenIfAway: true } : { sector: name }
    if (await action.run(() => call('POST', `/v1/conversations/${part(id)}/${verb}`, body), { stale: STALE }))
      done()
  }
  if ((operators.data?.length ?? 0) + (sectors.data?.length ?? 0) === 0) {
    return <Empty icon="users" title={t('inbox.nobody')} />
  }
  return (
    <form onSubmit={(event) => void move(event)} style={{ display: 'grid', gap: 16 }}>
      <NativeSelect
        label={t('inbox.to')}
        value={to}
        onChange={(event) => setTo(event.currentTarget.value)}
        required
        data={[
          { value: '', label: '' },
          {
            group: t('inbox.operators'),
            items: (operators.data ?? []).map((one) => ({
              value: `operator ${one.id}`,
              label: `${one.name} (${one.assignedCount}/${one.capacity}${one.isThere ? '' : `, ${t('inbox.away')}`})`,
            })),
          },
          {
            group: t('inbox.sectors'),
            items: (sectors.data ?? []).map((one) => ({ value: `sector ${one.id}`, label: one.name })),
          },
        ]}
      />
      <Button type="submit" loading={action.busy} disabled={to === ''}>
        {t('inbox.move')}
      </Button>
    </form>
  )
}

function Entries({ conversation }: { readonly conversation: Conversation }): ReactNode {
  const texts = useTexts()
  const { id, tenant } = conversation
  const operators = useQuery(operatorsQuery(tenant))
  const sectors = useQuery(sectorsQuery(tenant))
  const history = useQuery(threadQuery(id))
  const stages = useStages()
  const box = useRef<HTMLDivElement>(null)
  const atEnd = useRef(true)
  const entries = history.data ?? []
  const rows = useVirtualizer({
    count: entries.length,
    getScrollElement: () => box.current,
    estimateSize: () => 64,
    overscan: 12,
    getItemKey: (index) => entries[index]?.id ?? index,
  })
  const size = rows.getTotalSize()
  useEffect(() => {
    const element = box.current
    if (element !== null && atEnd.current) element.scrollTop = element.scrollHeight
  }, [entries.length, size])
  return (
    <div
      ref={box}
      className="entries"
      role="log"
      aria-label={texts.t('inbox.thread')}
      // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolled with the keyboard
      tabIndex={0}
      onScroll={({ currentTarget }) => {
        atEnd.current =
          currentTarget.scrollHeight - currentTarget.scrollTop - currentTarget.clientHeight < AT_END_PX
      }}
    >
      <Loaded query={history} lines={6}>
        {() =>
          entries.length === 0 ? (
            <Empty icon="chat" title={texts.t('inbox.noWords')} />
          ) : (
            <div style={{ height: size, position: 'relative' }}>
              {rows.getVirtualItems().map(({ key, index, start }) => {
                const entry = entries[index]
                const before = entries[index - 1]
                return (
                  <div
                    key={key}
                    ref={rows.measureElement}
                    data-index={index}
                    style={{
                      position: 'absolute',
                      top: 0,
                      left: 0,
                      right: 0,
                      transform: `translateY(${start}px)`,
                    }}
                  >
                    {entry !== undefined && (
                      <>
                        {isAnotherDay(before, entry) && <div className="day">{texts.day(entry.at)}</div>}
                        <Entry
                          entry={entry}
                          stage={entry.outbound === null ? undefined : stages.get(entry.outbound.id)?.stage}
                          operator={operators.data?.find((one) => one.id === entry.operator)?.name}
                          sector={sectors.data?.find((one) => one.id === entry.sector)?.name}
                        />
                      </>
                    )}
                  </div>
                )
              })}
            </div>
          )
        }
      </Loaded>
    </div>
  )
}

function isAnotherDay(before: HistoryEntry | undefined, entry: HistoryEntry): boolean {
  return before === undefined || new Date(before.at).toDateString() !== new Date(entry.at).toDateString()
}

function Entry({
  entry,
  stage,
  operator,
  sector,
}: {
  readonly entry: HistoryEntry
  readonly stage: 'reading' | 'thinking' | 'typing' | 'sending' | undefined
  /** Their names, while they exist. */
  readonly operator: string | undefined
  readonly sector: string | undefined
}): ReactNode {
  const texts = useTexts()
  const { t, time } = texts
  switch (entry.kind) {
    case 'inbound':
    case 'outbound': {
      const isOurs = entry.kind === 'outbound'
      const words = isOurs ? entry.text : inboundWords(entry, texts)
      return (
        <div className={`bubble-row ${isOurs ? 'bubble-ours' : ''}`}>
          <div className="bubble">
            {entry.inbound?.quoted?.text != null && (
              <div className="quoted clip">{entry.inbound.quoted.text}</div>
            )}
            <div className="bubble-words">
              {words === null ? (
                <em className="muted">{t('inbox.forgotten')}</em>
              ) : (
                <MarkedText text={words} />
              )}
            </div>
            <div className="bubble-foot">
              <span className="tabular">{time(entry.at)}</span>
              {entry.outbound !== null && <MessageTicks state={entry.outbound.state} stage={stage} />}
            </div>
          </div>
        </div>
      )
    }
    case 'note':
      return (
        <div className="note">
          <Icon name="note" size={15} />
          <span>
            {entry.text ?? ''}
            <span className="muted small"> {`${whoOf(entry.actor, texts)} · ${time(entry.at)}`}</span>
          </span>
        </div>
      )
    case 'opened':
    case 'waiting':
    case 'assigned':
    case 'transferred':
    case 'closed':
    case 'reopened':
    case 'merged':
      return (
        <div className="happened">
          {t(`happened.${entry.kind}`, {
            sector: sector ?? entry.sector ?? '–',
            operator: operator ?? entry.operator ?? '–',
          })}
          {` · ${time(entry.at)}`}
        </div>
      )
    default:
      return entry.kind satisfies never
  }
}

function inboundWords({ inbound }: HistoryEntry, { t }: Texts): string | null {
  if (inbound === null) return null
  const { media } = inbound.content
  if (media !== undefined) {
    const name = media.fileName === null ? '' : ` ${media.fileName}`
    return `[${t('inbox.media')}: ${media.type}${name}] ${inbound.text ?? ''}`.trim()
  }
  return inbound.text ?? `[${inbound.kind}]`
}

function whoOf(actor: string, { t }: Texts): string {
  return actor === 'api' ? t('inbox.byApi') : actor === 'flow' ? t('inbox.byFlow') : actor
}

function Composer({ conversation }: { readonly conversation: Conversation }): ReactNode {
  const texts = useTexts()
  const { t } = texts
  const { id, state } = conversation
  const client = useQueryClient()
  const toasts = useToasts()
  const maySend = useMay('app')
  const contact = useQuery(contactQuery(conversation.tenant, conversation.contact))
  const [kind, setKind] = useState<'answer' | 'note'>('answer')
  const [text, setText] = useState('')
  const [busy, setBusy] = useState(false)
  if (!maySend) return null
  const isClosed = state === 'closed' && kind === 'answer'
  const send = async (): Promise<void> => {
    if (text.trim() === '' || busy || isClosed) return
    setBusy(true)
    try {
      const path = `/v1/conversations/${part(id)}/${kind === 'answer' ? 'messages' : 'notes'}`
      // The same try again, by whoever's hand, sends nothing twice.
      await call('POST', path, { text }, kind === 'answer' ? { 'idempotency-key': crypto.randomUUID() } : {})
      setText('')
      await client.invalidateQueries({ queryKey: ['history', id] })
    } catch (error) {
      toasts.bad(error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault()
        void send()
      }}
    >
      {optedOutNote(contact.data, t('inbox.optedOutNote'))}
      <div style={{ display: 'flex', gap: 8, alignItems: 'flex-end' }}>
        <div style={{ flex: 1, display: 'grid', gap: 6 }}>
          <SegmentedControl
            size="xs"
            value={kind}
            onChange={(value) => setKind(value === 'note' ? 'note' : 'answer')}
            data={[
              { value: 'answer', label: t('inbox.answer') },
              { value: 'note', label: t('inbox.note') },
            ]}
            style={{ justifySelf: 'start' }}
          />
          <Textarea
            autosize
            minRows={1}
            maxRows={6}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
            disabled={isClosed}
            placeholder={t(
              isClosed ? 'inbox.closedHint' : kind === 'note' ? 'inbox.noteHint' : 'inbox.answerHint',
            )}
            aria-label={t(kind === 'note' ? 'inbox.note' : 'inbox.answer')}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
              event.preventDefault()
              void send()
            }}
          />
        </div>
        <ActionIcon
          type="submit"
          size={36}
          loading={busy}
          disabled={text.trim() === '' || isClosed}
          aria-label={t('inbox.send')}
        >
          <Icon name="send" />
        </ActionIcon>
      </div>
    </form>
  )
}

function optedOutNote(contact: Contact | undefined, text: string): ReactNode {
  if (contact?.optedOutAt == null) return null
  return (
    <p className="state-bad small" style={{ margin: '0 0 8px' }}>
      {text}
    </p>
  )
}
