import { Button, PasswordInput, SegmentedControl, TextInput } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { type FormEvent, type ReactNode, useState } from 'react'
import { ApiError, call } from '../api/client.ts'
import { sessionQuery } from '../api/queries.ts'
import type { Session } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { sentenceOf } from '../parts/states.tsx'
import { Brand } from './brand.tsx'
import { LookButtons } from './look.tsx'

export function SignIn(): ReactNode {
  const texts = useTexts()
  const { t } = texts
  const client = useQueryClient()
  const [way, setWay] = useState<'key' | 'password'>('key')
  const [key, setKey] = useState('')
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  const [totp, setTotp] = useState('')
  const [needsTotp, setNeedsTotp] = useState(false)
  const [fault, setFault] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)

  const signIn = async (event: FormEvent): Promise<void> => {
    event.preventDefault()
    setBusy(true)
    setFault(null)
    try {
      const body =
        way === 'key'
          ? { key: key.trim() }
          : { user: user.trim(), password, ...(totp === '' ? {} : { totp: totp.trim() }) }
      const session = await call<Session>('POST', '/v1/session', body)
      client.setQueryData(sessionQuery.queryKey, session)
      await client.invalidateQueries()
    } catch (error) {
      if (error instanceof ApiError && error.code === 'GATEWAY_TOTP_NEEDED') setNeedsTotp(true)
      else if (error instanceof ApiError && error.status === 429) setFault(t('signIn.locked'))
      else if (error instanceof ApiError && error.status === 401) setFault(t('signIn.wrong'))
      else setFault(sentenceOf(error, texts))
    } finally {
      setBusy(false)
    }
  }

  return (
    <main className="sign-in">
      <div className="card sign-in-card">
        <div
          style={{ display: 'flex', justifyContent: 'space-between', alignItems: 'center', marginBottom: 20 }}
        >
          <Brand />
          <LookButtons />
        </div>
        <h1 style={{ fontSize: 20, margin: '0 0 4px' }}>{t('signIn.title')}</h1>
        <p className="muted" style={{ margin: '0 0 18px', fontSize: 14 }}>
          {t('signIn.lead')}
        </p>
        <SegmentedControl
          fullWidth
          value={way}
          onChange={(value) => {
            setWay(value === 'key' ? 'key' : 'password')
            setFault(null)
          }}
          data={[
            { value: 'key', label: t('signIn.withKey') },
            { value: 'password', label: t('signIn.withPassword') },
          ]}
          mb={16}
        />
        <form onSubmit={(event) => void signIn(event)} style={{ display: 'grid', gap: 14 }}>
          {way === 'key' ? (
            <PasswordInput
              label={t('signIn.key')}
              description={t('signIn.keyHint')}
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
              autoComplete="current-password"
              name="key"
              required
              data-autofocus
            />
          ) : (
            <>
              <TextInput
                label={t('signIn.user')}
                value={user}
                onChange={(event) => setUser(event.currentTarget.value)}
                autoComplete="username"
                name="user"
                required
              />
              <PasswordInput
                label={t('signIn.password')}
                value={password}
                onChange={(event) => setPassword(event.currentTarget.value)}
                autoComplete="current-password"
                name="password"
                required
              />
              {needsTotp && (
                <TextInput
                  label={t('signIn.totp')}
                  value={totp}
                  onChange={(event) => setTotp(event.currentTarget.value)}
                  autoComplete="one-time-code"
                  inputMode="numeric"
                  maxLength={7}
                  name="totp"
                  required
                />
              )}
            </>
          )}
          {fault !== null && (
            <div role="alert" className="state-bad" style={{ fontSize: 13.5 }}>
              {fault}
            </div>
          )}
          <Button type="submit" loading={busy} fullWidth>
            {t('signIn.submit')}
          </Button>
        </form>
        <p className="muted small" style={{ margin: '16px 0 0' }}>
          {t('signIn.forgotten')}
        </p>
      </div>
    </main>
  )
}
