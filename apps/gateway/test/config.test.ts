import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { EclusaError } from '@eclusa/kernel'
import { SEND_DEADLINE_MS } from '@eclusa/queue'
import { describeConfig, loadConfig, renderConfigDocs } from '../src/config.ts'

function faultsOf(env: Record<string, string>): string {
  try {
    loadConfig(env)
  } catch (error) {
    assert.ok(error instanceof EclusaError)
    assert.equal(error.code, 'GATEWAY_CONFIG_REFUSED')
    return error.message
  }
  return assert.fail('it was accepted')
}

test('an empty environment gives the documented defaults, frozen', () => {
  const config = loadConfig({})
  assert.equal(config.dataDir, './data')
  assert.equal(config.httpHost, '127.0.0.1')
  assert.equal(config.httpPort, 8080)
  assert.equal(config.demo, 'auto')
  assert.equal(config.apiKey, null)
  assert.equal(config.whatsappUrl, 'wss://web.whatsapp.com/ws/chat')
  assert.equal(config.pacing, true)
  assert.throws(() => Object.assign(config, { httpPort: 1 }), TypeError)
})

test('an unknown ECLUSA_ name is refused with the nearest name; other names are nobody’s business', () => {
  assert.match(faultsOf({ ECLUSA_HTTP_PROT: '1' }), /ECLUSA_HTTP_PROT is not a setting.*ECLUSA_HTTP_PORT$/m)
  assert.match(faultsOf({ ECLUSA_DATADIR: 'x' }), /nearest one is ECLUSA_DATA_DIR$/m)
  loadConfig({ PATH: '/bin', ECLUSION: 'x' })
})

test('all faults are told at once', () => {
  const faults = faultsOf({ ECLUSA_HTTP_PORT: '65536', ECLUSA_DEMO: 'maybe', ECLUSA_PACING: 'yes' })
  assert.match(faults, /ECLUSA_HTTP_PORT must be a whole number from 0 to 65535/)
  assert.match(faults, /ECLUSA_DEMO must be one of auto, on, off/)
  assert.match(faults, /ECLUSA_PACING must be "on" or "off"/)
})

test('numbers outside their bounds, negative, fractional or in words are refused', () => {
  for (const value of ['-1', '65536', '1.5', '0x10', 'eighty', ' 80', '1e3']) {
    assert.match(faultsOf({ ECLUSA_HTTP_PORT: value }), /ECLUSA_HTTP_PORT/, value)
  }
  assert.equal(loadConfig({ ECLUSA_HTTP_PORT: '0' }).httpPort, 0)
})

test('a session stops waiting for an acknowledgement before the dispatcher gives the send up', () => {
  assert.match(faultsOf({ ECLUSA_SESSION_ACK_TIMEOUT_MS: '100001' }), /ECLUSA_SESSION_ACK_TIMEOUT_MS must be/)
  const { sessionAckTimeoutMs } = loadConfig({ ECLUSA_SESSION_ACK_TIMEOUT_MS: '100000' })
  // 20 s for what a session does before and after the wait.
  assert.ok(sessionAckTimeoutMs + 20_000 <= SEND_DEADLINE_MS)
})

test('a closed conversation is kept for longer than its contact can reopen it', () => {
  const both = (keep: string, reopen: string): Record<string, string> => ({
    ECLUSA_CONVERSATIONS_KEEP_CLOSED_FOR_MS: keep,
    ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS: reopen,
  })
  assert.match(
    faultsOf(both('600000', '600000')),
    /ECLUSA_CONVERSATIONS_KEEP_CLOSED_FOR_MS \(600000\) must be above ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS/,
  )
  assert.equal(loadConfig(both('600001', '600000')).conversationsKeepClosedForMs, 600_001)
})

test('a time zone is one that the clock knows', () => {
  assert.match(faultsOf({ ECLUSA_LIMITS_ZONE: 'Mars/Olympus' }), /ECLUSA_LIMITS_ZONE must be the name of/)
})

test('an empty variable is one that is not set', () => {
  assert.equal(loadConfig({ ECLUSA_HTTP_PORT: '', ECLUSA_API_KEY: '' }).httpPort, 8080)
})

test('pacing off is refused in production unless forced', () => {
  const off = { ECLUSA_PACING: 'off' }
  assert.equal(loadConfig(off).pacing, false)
  assert.match(
    faultsOf({ ...off, NODE_ENV: 'production' }),
    /ECLUSA_PACING=off is refused.*ECLUSA_PACING_FORCE=on/,
  )
  assert.equal(loadConfig({ ...off, NODE_ENV: 'production', ECLUSA_PACING_FORCE: 'on' }).pacing, false)
})

test('the low end of a range must not be above its high end', () => {
  assert.match(
    faultsOf({ ECLUSA_PACING_THINKING_MIN_MS: '9000' }),
    /ECLUSA_PACING_THINKING_MIN_MS \(9000\) must not be above ECLUSA_PACING_THINKING_MAX_MS \(8000\)/,
  )
})

test('a preset key under 32 characters or out of a sample is refused, and never repeated in the message', () => {
  assert.match(
    faultsOf({ ECLUSA_API_KEY: 'q'.repeat(31) }),
    /ECLUSA_API_KEY must have at least 32 characters/,
  )
  assert.doesNotMatch(faultsOf({ ECLUSA_API_KEY: 'q'.repeat(31) }), /qqq/)
  for (const known of [
    '429683C4C977415CAAFCCE10F7D57E11',
    'change-me-change-me-change-me-change-me',
    'CHANGEMECHANGEMECHANGEMECHANGEME',
    'your_super_secret_api_key_change_it',
  ]) {
    assert.match(faultsOf({ ECLUSA_API_KEY: known }), /well-known default/, known)
  }
  assert.match(faultsOf({ ECLUSA_API_KEY: `${'a'.repeat(20)} ${'b'.repeat(20)}` }), /without spaces/)
  const own = 'f3b1-0c9a-77aa-4d52-8f60-19c2-e5d4-a1b0'
  assert.equal(loadConfig({ ECLUSA_API_KEY: own }).apiKey, own)
})

test('sessions connect over TLS or to this machine, nowhere else', () => {
  for (const url of [
    'ws://example.com/ws/chat',
    'http://127.0.0.1:1',
    'nonsense',
    'ws://127.0.0.1.example.com/',
  ]) {
    assert.match(faultsOf({ ECLUSA_WHATSAPP_URL: url }), /ECLUSA_WHATSAPP_URL must be/, url)
  }
  for (const url of [
    'ws://127.0.0.1:9/ws/chat',
    'ws://localhost:9/',
    'ws://[::1]:9/',
    'wss://example.com/ws/chat',
  ]) {
    assert.equal(loadConfig({ ECLUSA_WHATSAPP_URL: url }).whatsappUrl, url)
  }
})

test('the demo cannot be asked for together with another server', () => {
  assert.match(
    faultsOf({ ECLUSA_DEMO: 'on', ECLUSA_WHATSAPP_URL: 'ws://127.0.0.1:9/' }),
    /brings its own simulator/,
  )
})

test('docs/config.md is what the table says (npm run docs writes it)', () => {
  const written = readFileSync(new URL('../../../docs/config.md', import.meta.url), 'utf8')
  assert.equal(written, renderConfigDocs())
})

test('a database URL is PostgreSQL’s, and what is wrong with it is told without its password', () => {
  const faults = faultsOf({ ECLUSA_DATABASE_URL: 'mysql://eclusa:secret@db/eclusa' })
  assert.match(faults, /ECLUSA_DATABASE_URL must look like postgres:/)
  assert.doesNotMatch(faults, /secret@/)
  for (const url of [
    'postgres://db/eclusa',
    'postgresql://eclusa:secret@[::1]:5433/eclusa?sslmode=require',
  ]) {
    assert.equal(loadConfig({ ECLUSA_DATABASE_URL: url }).databaseUrl, url)
  }
})

test('a secret that can be guessed is refused, wherever the gateway listens', () => {
  for (const weak of ['a'.repeat(40), '0123456789'.repeat(4), 'abababababababababababababababababab']) {
    for (const name of ['ECLUSA_API_KEY', 'ECLUSA_MASTER_KEY', 'ECLUSA_MASTER_KEY_OTHER']) {
      const faults = faultsOf({ [name]: weak })
      assert.match(faults, new RegExp(`${name} repeats a few characters.*openssl rand -base64 32`))
      assert.ok(!faults.includes(weak))
    }
  }
})

test('who opens the gateway to the network must not have a database that everybody can open', () => {
  const open = { ECLUSA_HTTP_HOST: '0.0.0.0', ECLUSA_DATABASE_URL: 'postgres://eclusa:Postgres@db/eclusa' }
  assert.match(
    faultsOf(open),
    /ECLUSA_DATABASE_URL has a password that everybody tries first.*openssl rand -hex 24/,
  )
  assert.match(faultsOf({ ...open, ECLUSA_HTTP_HOST: '::' }), /everybody tries first/)
  for (const ECLUSA_HTTP_HOST of ['127.0.0.1', 'localhost', '::1', '127.1.2.3']) {
    loadConfig({ ...open, ECLUSA_HTTP_HOST })
  }
  loadConfig({ ...open, ECLUSA_DATABASE_URL: 'postgres://eclusa:8d1f-its-own@db/eclusa' })
})

test('the permissions of Node leave no room for the demo', () => {
  assert.match(faultsOf({ ECLUSA_PERMISSIONS: 'on' }), /set ECLUSA_DEMO=off/)
  assert.equal(loadConfig({ ECLUSA_PERMISSIONS: 'on', ECLUSA_DEMO: 'off' }).permissions, true)
})

test('it listens on this machine alone, and there is one master key', () => {
  assert.equal(loadConfig({}).httpHost, '127.0.0.1')
  const key = 'gOjUVYdzg2D8+1tRZg7sWWuRIYAEPv0QQgZrCdmTdNE='
  assert.match(faultsOf({ ECLUSA_MASTER_KEY: key, ECLUSA_KEY_FILE: '/a' }), /both set/)
  assert.match(faultsOf({ ECLUSA_MASTER_KEY_OTHER: key, ECLUSA_KEY_FILE_OTHER: '/a' }), /both set/)
})

test('settings are shown with where they come from, and no secret with them', () => {
  const shown = describeConfig({
    ECLUSA_API_KEY: 'a-secret-that-nobody-shall-see-here',
    ECLUSA_DATABASE_URL: 'postgres://me:hunter2@db.example/eclusa',
    ECLUSA_HTTP_PORT: '9000',
  })
  const of = (name: string) => shown.find((one) => one.name === name)
  assert.deepEqual([of('ECLUSA_HTTP_PORT')?.value, of('ECLUSA_HTTP_PORT')?.origin], ['9000', 'environment'])
  assert.deepEqual([of('ECLUSA_HTTP_HOST')?.value, of('ECLUSA_HTTP_HOST')?.origin], ['127.0.0.1', 'default'])
  assert.equal(of('ECLUSA_DATABASE_URL')?.value, 'postgres://me:***@db.example/eclusa')
  assert.doesNotMatch(JSON.stringify(shown), /hunter2|nobody-shall-see/)
})
