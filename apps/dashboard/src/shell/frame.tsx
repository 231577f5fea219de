import { ActionIcon } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, Outlet, useRouterState } from '@tanstack/react-router'
import { type ReactNode, useEffect, useRef } from 'react'
import { call } from '../api/client.ts'
import { useStreamState } from '../api/live.ts'
import { queueQuery, sessionQuery } from '../api/queries.ts'
import { type TextKey, useTexts } from '../i18n/index.tsx'
import { Icon, type IconName } from '../parts/icon.tsx'
import { Brand } from './brand.tsx'
import { useSession } from './gate.tsx'
import { LookButtons } from './look.tsx'

interface Place {
  readonly to: string
  readonly icon: IconName
  readonly name: TextKey
  /** What one must be allowed, to find anything there. */
  readonly scope: string
  /** It concerns all tenants. */
  readonly operatorsOnly?: boolean
}

const PLACES: readonly { readonly group: TextKey | null; readonly places: readonly Place[] }[] = [
  {
    group: null,
    places: [
      { to: '/', icon: 'overview', name: 'nav.overview', scope: 'read' },
      { to: '/numbers', icon: 'phone', name: 'nav.instances', scope: 'read' },
      { to: '/inbox', icon: 'inbox', name: 'nav.inbox', scope: 'read' },
      { to: '/queue', icon: 'queue', name: 'nav.queue', scope: 'read' },
      { to: '/flows', icon: 'flow', name: 'nav.flows', scope: 'read' },
    ],
  },
  {
    group: 'nav.operate',
    places: [
      { to: '/memory', icon: 'memory', name: 'nav.memory', scope: 'read', operatorsOnly: true },
      { to: '/events', icon: 'events', name: 'nav.events', scope: 'read' },
      { to: '/webhooks', icon: 'webhook', name: 'nav.webhooks', scope: 'read' },
    ],
  },
  {
    group: 'nav.admin',
    places: [
      { to: '/access', icon: 'key', name: 'nav.keys', scope: 'admin' },
      { to: '/audit', icon: 'audit', name: 'nav.audit', scope: 'admin' },
      { to: '/settings', icon: 'settings', name: 'nav.settings', scope: 'read', operatorsOnly: true },
    ],
  },
]

/** The menu beside the page, or above it where there is no room. */
export function Frame(): ReactNode {
  const { t } = useTexts()
  const menu = useRef<HTMLDialogElement>(null)
  const content = useRef<HTMLElement>(null)
  const path = useRouterState({ select: ({ location }) => location.pathname })
  useEffect(() => {
    menu.current?.close()
    content.current?.scrollTo(0, 0)
  }, [path])
  return (
    <>
      <a className="skip" href="#content">
        {t('app.skip')}
      </a>
      <div className="frame">
        <aside className="side">
          <div className="side-brand">
            <Brand />
          </div>
          <Places />
          <Foot />
        </aside>
        <div className="top">
          <ActionIcon
            variant="subtle"
            color="gray"
            size="lg"
            aria-label={t('nav.open')}
            onClick={() => menu.current?.showModal()}
          >
            <Icon name="menu" size={20} />
          </ActionIcon>
          <Brand />
          <div style={{ marginLeft: 'auto' }}>
            <StreamLight short />
          </div>
        </div>
        <main className="content" id="content" ref={content} tabIndex={-1}>
          <Outlet />
        </main>
      </div>
      {/* The browser's own dialog keeps the focus inside and closes on Escape. */}
      <dialog
        ref={menu}
        className="drawer"
        aria-label={t('nav.main')}
        onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}
      >
        <div className="drawer-body">
          <div className="side-brand">
            <Brand />
            <ActionIcon
              variant="subtle"
              color="gray"
              style={{ marginLeft: 'auto' }}
              aria-label={t('common.close')}
              onClick={() => menu.current?.close()}
            >
              <Icon name="close" />
            </ActionIcon>
          </div>
          <Places />
          <Foot />
        </div>
      </dialog>
    </>
  )
}

function Places(): ReactNode {
  const { t, number } = useTexts()
  const { scopes, reach } = useSession()
  const queue = useQuery(queueQuery)
  const waiting = (queue.data?.total.pending ?? 0) + (queue.data?.total.processing ?? 0)
  return (
    <nav aria-label={t('nav.main')}>
      {PLACES.map(({ group, places }) => {
        const seen = places.filter(
          ({ scope, operatorsOnly }) => scopes.includes(scope) && (operatorsOnly !== true || reach === '*'),
        )
        if (seen.length === 0) return null
        return (
          <div key={group ?? ''}>
            {group !== null && <div className="side-group">{t(group)}</div>}
            {seen.map(({ to, icon, name }) => (
              <Link key={to} to={to} className="nav-link" activeOptions={{ exact: to === '/' }}>
                <Icon name={icon} />
                {t(name)}
                {to === '/queue' && waiting > 0 && <span className="nav-count">{number(waiting)}</span>}
              </Link>
            ))}
          </div>
        )
      })}
    </nav>
  )
}

/** Who is signed in, how they want it, and whether what they see is live. */
function Foot(): ReactNode {
  const { t } = useTexts()
  const session = useSession()
  const client = useQueryClient()
  const signOut = async (): Promise<void> => {
    await call('DELETE', '/v1/session').catch(() => {})
    client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'session' })
    client.setQueryData(sessionQuery.queryKey, null)
  }
  return (
    <div
      style={{
        marginTop: 'auto',
        paddingTop: 16,
        display: 'grid',
        gridTemplateColumns: 'minmax(0, 1fr)',
        gap: 10,
      }}
    >
      <div style={{ padding: '0 10px' }}>
        <StreamLight />
      </div>
      <div style={{ display: 'flex', alignItems: 'center', justifyContent: 'space-between' }}>
        <span
          className="clip muted"
          style={{ display: 'flex', alignItems: 'center', gap: 6, padding: '0 0 0 8px', fontSize: 13 }}
          title={t('signIn.as', { name: session.name })}
        >
          <Icon name={session.kind === 'key' ? 'key' : 'person'} size={16} />
          <span className="clip">{session.name}</span>
        </span>
        <div style={{ display: 'flex', flexShrink: 0 }}>
          <LookButtons />
          <ActionIcon
            variant="subtle"
            color="gray"
            size="lg"
            aria-label={t('signIn.out')}
            title={t('signIn.out')}
            onClick={() => void signOut()}
          >
            <Icon name="logout" />
          </ActionIcon>
        </div>
      </div>
    </div>
  )
}

function StreamLight({ short = false }: { readonly short?: boolean }): ReactNode {
  const { t } = useTexts()
  const state = useStreamState()
  const tone = state === 'open' ? 'good' : state === 'lost' ? 'bad' : 'wait'
  return (
    <span className={`state state-${tone} small`} role="status">
      {short && state === 'open' ? t('stream.open') : t(`stream.${state}`)}
    </span>
  )
}
