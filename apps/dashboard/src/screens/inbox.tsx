import { Button, SegmentedControl } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type ReactNode, useRef, useState } from 'react'
import {
  contactQuery,
  conversationsQuery,
  instancesQuery,
  operatorsQuery,
  sectorsQuery,
} from '../api/queries.ts'
import type { Conversation, Instance } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { Avatar, nameOf } from '../parts/person.tsx'
import { PickField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useSession } from '../shell/gate.tsx'
import { Thread } from './thread.tsx'

const ROW_HEIGHT = 70

/** Conversations at the left, the one that is open at the right; on a phone one of the two. */
export function InboxScreen(): ReactNode {
  const { t } = useTexts()
  const { reach } = useSession()
  const navigate = useNavigate()
  const search = useSearch({ from: '/inbox' })
  const instances = useQuery(instancesQuery)
  const [state, setState] = useState<'' | 'open' | 'assigned' | 'closed'>('')
  const tenants = [...new Set((instances.data ?? []).map(({ tenant }) => tenant))].sort()
  const tenant = search.tenant ?? (reach === '*' ? (tenants.at(-1) ?? '') : reach)
  const open = (change: { tenant?: string; conversation?: string | undefined }): void =>
    void navigate({ to: '/inbox', search: { tenant, ...change } })
  return (
    <div className={`inbox ${search.conversation === undefined ? '' : 'inbox-open'}`}>
      <section className="inbox-list" aria-label={t('inbox.list')}>
        <div
          style={{
            padding: '16px 16px 12px',
            display: 'grid',
            gap: 10,
            borderBottom: '1px solid var(--line)',
          }}
        >
          <h1 style={{ margin: 0, fontSize: 20 }}>{t('nav.inbox')}</h1>
          {tenants.length > 1 && (
            <PickField
              label={t('common.tenant')}
              value={tenant}
              onChange={(next) => open({ tenant: next, conversation: undefined })}
              options={tenants.map((value) => ({ value, label: value }))}
            />
          )}
          <SegmentedControl
            size="xs"
            fullWidth
            value={state}
            onChange={(value) => setState(value)}
            data={[
              { value: '', label: t('common.all') },
              { value: 'open', label: t('inbox.open') },
              { value: 'assigned', label: t('inbox.assigned') },
              { value: 'closed', label: t('inbox.closed') },
            ]}
          />
        </div>
        <Loaded query={instances}>
          {(items) =>
            items.length === 0 ? (
              <Empty icon="phone" title={t('instances.empty')}>
                <span>{t('instances.emptyHint')}</span>
              </Empty>
            ) : (
              <List
                tenant={tenant}
                state={state}
                instances={items}
                selected={search.conversation}
                onOpen={(conversation) => open({ conversation })}
              />
            )
          }
        </Loaded>
      </section>
      <section className="inbox-thread" aria-label={t('inbox.thread')}>
        {search.conversation === undefined ? (
          <Empty icon="chat" title={t('inbox.pick')}>
            <span>{t('inbox.pickHint')}</span>
          </Empty>
        ) : (
          <Thread
            key={search.conversation}
            id={search.conversation}
            back={
              <Button
                className="inbox-back"
                variant="subtle"
                size="compact-sm"
                aria-label={t('inbox.back')}
                onClick={() => open({ conversation: undefined })}
              >
                <Icon name="back" />
              </Button>
            }
          />
        )}
      </section>
    </div>
  )
}

interface ListProps {
  readonly tenant: string
  readonly state: string
  readonly instances: readonly Instance[]
  readonly selected: string | undefined
  readonly onOpen: (id: string) => void
}

function List({ tenant, state, instances, selected, onOpen }: ListProps): ReactNode {
  const { t } = useTexts()
  const conversations = useQuery(conversationsQuery(tenant, state, ''))
  const box = useRef<HTMLDivElement>(null)
  // Who wrote last comes first, as people expect; the server orders by when they were opened.
  const items = [...(conversations.data?.items ?? [])].sort(
    (a, b) => Date.parse(b.lastInboundAt) - Date.parse(a.lastInboundAt),
  )
  const rows = useVirtualizer({
    count: items.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 6,
  })
  const names = new Map(instances.map(({ id, name }) => [id, name]))
  return (
    <div ref={box} style={{ overflowY: 'auto', minHeight: 0, flex: 1 }}>
      <Loaded query={conversations} lines={8}>
        {() =>
          items.length === 0 ? (
            <Empty icon="inbox" title={t('inbox.empty')}>
              <span>{t('inbox.emptyHint')}</span>
            </Empty>
          ) : (
            <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
              {rows.getVirtualItems().map(({ index, start }) => {
                const item = items[index]
                return (
                  item !== undefined && (
                    <div
                      key={item.id}
                      style={{
                        position: 'absolute',
                        top: 0,
                        left: 0,
                        right: 0,
                        height: ROW_HEIGHT,
                        transform: `translateY(${start}px)`,
                      }}
                    >
                      <Row
                        item={item}
                        via={names.get(item.instance)}
                        isOpen={item.id === selected}
                        onOpen={onOpen}
                      />
                    </div>
                  )
                )
              })}
            </div>
          )
        }
      </Loaded>
    </div>
  )
}

interface RowProps {
  readonly item: Conversation
  readonly via: string | undefined
  readonly isOpen: boolean
  readonly onOpen: (id: string) => void
}

function Row({ item, via, isOpen, onOpen }: RowProps): ReactNode {
  const { t } = useTexts()
  const contact = useQuery(contactQuery(item.tenant, item.contact))
  const operators = useQuery(operatorsQuery(item.tenant))
  const sectors = useQuery(sectorsQuery(item.tenant))
  const name = nameOf(contact.data, item.chat)
  const operator = operators.data?.find(({ id }) => id === item.operator)?.name
  const sector = sectors.data?.find(({ id }) => id === item.sector)?.name ?? item.sector
  const where = [operator, sector ?? undefined, via].filter((one) => one !== undefined).join(' · ')
  return (
    <button type="button" className="chat-row" aria-current={isOpen} onClick={() => onOpen(item.id)}>
      <Avatar name={name} />
      <span style={{ minWidth: 0, flex: 1 }}>
        <span style={{ display: 'flex', gap: 8, alignItems: 'baseline' }}>
          <strong className="clip" style={{ fontWeight: 600, flex: 1 }}>
            {name}
          </strong>
          <span className="muted small" style={{ flexShrink: 0 }}>
            <Ago at={item.lastInboundAt} />
          </span>
        </span>
        <span style={{ display: 'flex', gap: 6, alignItems: 'center', marginTop: 2 }}>
          <span className="muted small clip" style={{ flex: 1 }}>
            {where}
          </span>
          {contact.data?.optedOutAt != null && <span className="tag tag-bad">{t('inbox.optedOut')}</span>}
          <span
            className={`tag ${item.state === 'open' ? 'tag-warn' : item.state === 'assigned' ? 'tag-good' : ''}`}
          >
            {t(item.state === 'open' && item.waitingSince !== null ? 'inbox.inLine' : `inbox.${item.state}`)}
          </span>
        </span>
      </span>
    </button>
  )
}
