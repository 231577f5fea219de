import { Button, Checkbox, Modal, PasswordInput, TextInput } from '@mantine/core'
import { queryOptions, useQuery } from '@tanstack/react-query'
import { type FormEvent, type ReactNode, useState } from 'react'
import { call, get, part } from '../api/client.ts'
import type { ApiKey, SignedIn, User } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { useConfirm } from '../parts/confirm.tsx'
import { Icon } from '../parts/icon.tsx'
import { Card, Page } from '../parts/page.tsx'
import { Secret } from '../parts/secret.tsx'
import { Empty, Loaded } from '../parts/states.tsx'
import { Ago } from '../parts/time.tsx'
import { useAction } from '../parts/use-action.ts'
import { useSession } from '../shell/gate.tsx'

const STALE = ['access'] as const
const SCOPES = ['read', 'send', 'control', 'queue', 'flow', 'settings', 'app', 'erase', 'admin'] as const

const keysQuery = queryOptions({
  queryKey: ['access', 'keys'],
  queryFn: async () => (await get<{ items: readonly ApiKey[] }>('/v1/keys')).items,
})
const usersQuery = queryOptions({
  queryKey: ['access', 'users'],
  queryFn: async () => (await get<{ items: readonly User[] }>('/v1/users')).items,
})
const sessionsQuery = queryOptions({
  queryKey: ['access', 'sessions'],
  queryFn: async () => (await get<{ items: readonly SignedIn[] }>('/v1/sessions')).items,
})

/** Keys, people, and the browsers they are signed in with. */
export function AccessScreen(): ReactNode {
  const { t } = useTexts()
  const isOperator = useSession().reach === '*'
  const [adding, setAdding] = useState<'key' | 'user' | null>(null)
  return (
    <Page
      title={t('nav.keys')}
      lead={t('access.lead')}
      actions={
        <>
          {isOperator && (
            <Button
              variant="default"
              leftSection={<Icon name="person" size={16} />}
              onClick={() => setAdding('user')}
            >
              {t('access.addUser')}
            </Button>
          )}
          <Button leftSection={<Icon name="key" size={16} />} onClick={() => setAdding('key')}>
            {t('access.addKey')}
          </Button>
        </>
      }
    >
      <div className="stack">
        <Card title={t('access.keys')} flush>
          <Keys />
        </Card>
        {isOperator && (
          <div className="grid-2">
            <Card title={t('access.users')} flush>
              <UsersList />
            </Card>
            <Card title={t('access.sessions')} flush>
              <Sessions />
            </Card>
          </div>
        )}
      </div>
      <Modal
        opened={adding !== null}
        onClose={() => setAdding(null)}
        title={t(adding === 'user' ? 'access.addUser' : 'access.addKey')}
        centered
        closeButtonProps={{ 'aria-label': t('common.close') }}
      >
        {adding !== null && <AddForm kind={adding} done={() => setAdding(null)} />}
      </Modal>
    </Page>
  )
}

function Keys(): ReactNode {
  const { t, dateTime } = useTexts()
  const keys = useQuery(keysQuery)
  const action = useAction()
  const { ask, dialog } = useConfirm()
  return (
    <Loaded query={keys}>
      {(items) => (
        <>
          <table className="table table-cards">
            <thead>
              <tr>
                <th>{t('common.name')}</th>
                <th>{t('common.tenant')}</th>
                <th>{t('access.scopes')}</th>
                <th>{t('access.lastUsed')}</th>
                <th>{t('access.ends')}</th>
                <th aria-label={t('common.details')} />
              </tr>
            </thead>
            <tbody>
              {items.map((key) => (
                <tr key={key.id}>
                  <td>
                    <strong style={{ fontWeight: 570 }}>
                      {key.name === '' ? t('access.noName') : key.name}
                    </strong>
                    <div className="muted small mono">{key.id}</div>
                  </td>
                  <td className="muted" data-label={t('common.tenant')}>
                    {key.tenant ?? t('common.allTenants')}
                  </td>
                  <td className="muted small wide">
                    {key.scopes.length === SCOPES.length ? t('access.everything') : key.scopes.join(', ')}
                  </td>
                  <td className="muted" data-label={t('access.lastUsed')}>
                    <Ago at={key.lastUsedAt} />
                  </td>
                  <td className="muted small" data-label={t('access.ends')}>
                    {key.expiresAt === null ? t('common.never') : dateTime(key.expiresAt)}
                  </td>
                  <td className="num wide">
                    {key.origin !== 'preset' && (
                      <Button
                        size="compact-xs"
                        variant="subtle"
                        color="red"
                        onClick={() =>
                          ask({
                            title: t('access.revoke'),
                            text: t('access.revokeAsk', { name: key.name === '' ? key.id : key.name }),
                            act: () =>
                              action.run(() => call('DELETE', `/v1/keys/${part(key.id)}`), { stale: STALE }),
                          })
                        }
                      >
                        {t('access.revoke')}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {dialog}
        </>
      )}
    </Loaded>
  )
}

function UsersList(): ReactNode {
  const { t } = useTexts()
  const users = useQuery(usersQuery)
  const action = useAction()
  const { ask, dialog } = useConfirm()
  return (
    <Loaded query={users}>
      {(items) =>
        items.length === 0 ? (
          <Empty icon="users" title={t('access.noUsers')}>
            <span>{t('access.noUsersHint')}</span>
          </Empty>
        ) : (
          <ul className="list-plain">
            {items.map((user) => (
              <li key={user.name} className="row" style={{ borderTop: '1px solid var(--line)' }}>
                <span style={{ flex: 1, minWidth: 0 }}>
                  <strong style={{ fontWeight: 570 }}>{user.name}</strong>{' '}
                  {user.hasTotp && <span className="tag tag-good">{t('access.totp')}</span>}
                  <span className="muted small clip" style={{ display: 'block' }}>
                    {user.reach === '*' ? t('common.allTenants') : user.reach} · {user.scopes.join(', ')}
                  </span>
                </span>
                <Button
                  size="compact-xs"
                  variant="subtle"
                  color="red"
                  onClick={() =>
                    ask({
                      title: t('common.delete'),
                      text: t('access.deleteUserAsk', { name: user.name }),
                      act: () =>
                        action.run(() => call('DELETE', `/v1/users/${part(user.name)}`), { stale: STALE }),
                    })
                  }
                >
                  {t('common.delete')}
                </Button>
              </li>
            ))}
            {dialog}
          </ul>
        )
      }
    </Loaded>
  )
}

function Sessions(): ReactNode {
  const { t } = useTexts()
  const sessions = useQuery(sessionsQuery)
  const action = useAction()
  return (
    <Loaded query={sessions}>
      {(items) => (
        <ul className="list-plain">
          {items.slice(0, 50).map((one) => (
            <li key={one.id} className="row" style={{ borderTop: '1px solid var(--line)' }}>
              <Icon name={one.kind === 'key' ? 'key' : 'person'} size={16} />
              <span style={{ flex: 1, minWidth: 0 }}>
                {one.name} {one.own && <span className="tag">{t('access.own')}</span>}
                <span className="muted small" style={{ display: 'block' }}>
                  <Ago at={one.seenAt} />
                </span>
              </span>
              {!one.own && (
                <Button
                  size="compact-xs"
                  variant="subtle"
                  onClick={() =>
                    void action.run(() => call('DELETE', `/v1/sessions/${part(one.id)}`), { stale: STALE })
                  }
                >
                  {t('signIn.out')}
                </Button>
              )}
            </li>
          ))}
        </ul>
      )}
    </Loaded>
  )
}

function AddForm({ kind, done }: { readonly kind: 'key' | 'user'; readonly done: () => void }): ReactNode {
  const { t } = useTexts()
  const session = useSession()
  const action = useAction()
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [tenant, setTenant] = useState('')
  const [scopes, setScopes] = useState<readonly string[]>(['read'])
  const [key, setKey] = useState<string | null>(null)
  const add = async (): Promise<void> => {
    if (kind === 'user') {
      await call('POST', '/v1/users', {
        name,
        password,
        reach: tenant === '' ? session.reach : tenant,
        scopes,
      })
      done()
      return
    }
    const path = tenant === '' ? '/v1/keys' : `/v1/tenants/${part(tenant)}/keys`
    setKey((await call<{ key: string }>('POST', path, { name, scopes })).key)
  }
  if (key !== null) return <Secret text={key} hint={t('access.keyHint')} />
  return (
    <form
      style={{ display: 'grid', gap: 14 }}
      onSubmit={(event: FormEvent) => {
        event.preventDefault()
        void action.run(add, { stale: STALE })
      }}
    >
      <TextInput
        label={t('common.name')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        required
        data-autofocus
      />
      {kind === 'user' && (
        <PasswordInput
          label={t('signIn.password')}
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
          minLength={10}
          autoComplete="new-password"
          required
        />
      )}
      {session.reach === '*' && (
        <TextInput
          label={t('common.tenant')}
          description={t('access.tenantHint')}
          value={tenant}
          onChange={(event) => setTenant(event.currentTarget.value)}
        />
      )}
      <Checkbox.Group label={t('access.scopes')} value={[...scopes]} onChange={setScopes}>
        <div style={{ display: 'grid', gridTemplateColumns: 'repeat(3, 1fr)', gap: 10, marginTop: 6 }}>
          {SCOPES.map((scope) => (
            <Checkbox key={scope} value={scope} label={scope} disabled={!session.scopes.includes(scope)} />
          ))}
        </div>
      </Checkbox.Group>
      <Button type="submit" loading={action.busy} disabled={scopes.length === 0}>
        {t('access.make')}
      </Button>
    </form>
  )
}
