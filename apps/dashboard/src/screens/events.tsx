import { Button } from '@mantine/core'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type ReactNode, useRef, useState } from 'react'
import { EVENT_TYPES } from '../api/event-types.ts'
import { clearEvents, MAX_EVENTS, useEvents } from '../api/live.ts'
import type { LoggedEvent } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { factsOf } from '../parts/event-line.tsx'
import { PickField, SearchField } from '../parts/fields.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Empty } from '../parts/states.tsx'

const ROW_HEIGHT = 38
const GROUPS = [...new Set(EVENT_TYPES.map((type) => type.split('.')[0] ?? type))].sort()

/** Everything as it happens; the newest thousand are held here. */
export function EventsScreen(): ReactNode {
  const { t, n, time, dateTime } = useTexts()
  const live = useEvents()
  const [held, setHeld] = useState<readonly LoggedEvent[] | null>(null)
  const [group, setGroup] = useState('')
  const [words, setWords] = useState('')
  const [opened, setOpened] = useState<LoggedEvent | null>(null)
  const box = useRef<HTMLDivElement>(null)
  const wanted = words.trim().toLowerCase()
  const events = (held ?? live).filter(
    (event) =>
      (group === '' || event.type.startsWith(`${group}.`)) &&
      (wanted === '' || JSON.stringify(event).toLowerCase().includes(wanted)),
  )
  const rows = useVirtualizer({
    count: events.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
  })
  const download = (): void => {
    const url = URL.createObjectURL(
      new Blob([events.map((event) => JSON.stringify(event)).join('\n')], { type: 'application/x-ndjson' }),
    )
    const link = document.createElement('a')
    link.href = url
    link.download = 'events.ndjson'
    link.click()
    URL.revokeObjectURL(url)
  }
  return (
    <Page
      title={t('nav.events')}
      lead={t('events.lead', { count: String(MAX_EVENTS) })}
      actions={
        <>
          <Button
            variant="default"
            leftSection={<Icon name={held === null ? 'pause' : 'play'} size={15} />}
            onClick={() => setHeld(held === null ? live : null)}
          >
            {t(held === null ? 'events.pause' : 'events.goOn')}
          </Button>
          <Button
            variant="default"
            leftSection={<Icon name="download" size={15} />}
            onClick={download}
            disabled={events.length === 0}
          >
            {t('events.download')}
          </Button>
          <Button
            variant="subtle"
            onClick={() => {
              clearEvents()
              setHeld(null)
              setOpened(null)
            }}
          >
            {t('events.clear')}
          </Button>
        </>
      }
    >
      <div className="stack">
        <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, alignItems: 'center' }}>
          <SearchField value={words} onChange={setWords} label={t('events.search')} />
          <PickField
            label={t('events.group')}
            value={group}
            onChange={setGroup}
            all={t('events.allGroups')}
            options={GROUPS.map((value) => ({ value, label: `${value}.*` }))}
          />
          <span className="muted small">{n('events.shown', events.length)}</span>
        </div>
        <div className="grid-side">
          <Card flush>
            {events.length === 0 ? (
              <Empty icon="events" title={t('events.empty')}>
                <span>{t('events.emptyHint')}</span>
              </Empty>
            ) : (
              // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- scrolled with the keyboard
              <div ref={box} tabIndex={0} style={{ height: 'min(64vh, 720px)', overflowY: 'auto' }}>
                <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
                  {rows.getVirtualItems().map(({ index, start }) => {
                    const event = events[index]
                    return (
                      event !== undefined && (
                        <button
                          type="button"
                          key={event.id}
                          className="event-row"
                          aria-pressed={opened?.id === event.id}
                          style={{ transform: `translateY(${start}px)`, height: ROW_HEIGHT }}
                          onClick={() => setOpened(event)}
                        >
                          <span className="muted small tabular">{time(event.at)}</span>
                          <span className="mono clip">{event.type}</span>
                          <span className="muted small clip hide-small">
                            {[event.tenant, factsOf(event)].join(' · ')}
                          </span>
                        </button>
                      )
                    )
                  })}
                </div>
              </div>
            )}
          </Card>
          <Card title={opened === null ? t('events.pick') : opened.type}>
            {opened === null ? (
              <p className="muted small" style={{ margin: 0 }}>
                {t('events.pickHint')}
              </p>
            ) : (
              <>
                <p className="muted small" style={{ margin: '0 0 8px' }}>
                  {dateTime(opened.at)}
                </p>
                <pre className="mono json">{JSON.stringify(opened, null, 2)}</pre>
              </>
            )}
          </Card>
        </div>
      </div>
    </Page>
  )
}
