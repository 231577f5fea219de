import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Message } from '../src/api/types.ts'
import { en } from '../src/i18n/en.ts'
import { ptBr } from '../src/i18n/pt-br.ts'
import { makeTexts } from '../src/i18n/texts.ts'
import { addressOf, visible } from '../src/parts/address.ts'
import { piecesOf } from '../src/parts/pieces.ts'
import { lanesOf, timelineOf } from '../src/screens/lanes.ts'

const english = makeTexts({ language: 'en', dictionary: en }, () => {})
const portuguese = makeTexts({ language: 'pt-BR', dictionary: ptBr }, () => {})

function message(id: string, more: Partial<Message> = {}): Message {
  return {
    id,
    instance: 'ins_1',
    chat: 'a@s.whatsapp.net',
    state: 'PENDING',
    waMessageId: '',
    acceptedAt: '2026-11-29T10:00:00.000Z',
    sentAt: null,
    deliveredAt: null,
    readAt: null,
    failure: null,
    ...more,
  }
}

test('counts, sizes and times are written as the language writes them', () => {
  assert.equal(english.n('events.shown', 1), '1 event')
  assert.equal(english.n('events.shown', 1234), '1,234 events')
  assert.equal(portuguese.n('events.shown', 1234), '1.234 eventos')
  assert.equal(english.bytes(0), '0 B')
  assert.equal(english.bytes(1536), '1.5 KiB')
  assert.equal(portuguese.bytes(1536), '1,5 KiB')
  assert.equal(english.bytes(221 * 1024 ** 2), '221 MiB')
  assert.equal(english.duration(59_400), '59s')
  assert.equal(english.duration(3 * 3_600_000 + 60_000), '3h 1m')
  assert.equal(english.duration(72 * 3_600_000), '3d')
  assert.equal(english.t('common.ago', { time: '<b>' }), '<b> ago')
})

test('WhatsApp marks become pieces, and only links to the web become links', () => {
  assert.deepEqual(piecesOf('*b* _i_ ~s~ `c` plain'), [
    { kind: 'bold', text: 'b' },
    { kind: 'text', text: ' ' },
    { kind: 'italic', text: 'i' },
    { kind: 'text', text: ' ' },
    { kind: 'strike', text: 's' },
    { kind: 'text', text: ' ' },
    { kind: 'code', text: 'c' },
    { kind: 'text', text: ' plain' },
  ])
  assert.deepEqual(piecesOf('see https://example.com/a?b=1 now')[1], {
    kind: 'link',
    text: 'https://example.com/a?b=1',
    href: 'https://example.com/a?b=1',
  })
  for (const hostile of [
    'javascript:alert(1)',
    'data:text/html,x',
    '<img src=x onerror=alert(1)>',
    'vbscript:x',
  ])
    assert.ok(
      piecesOf(hostile).every(({ kind }) => kind === 'text'),
      hostile,
    )
  const long = '*'.repeat(50_000)
  assert.equal(
    piecesOf(long)
      .map(({ text }) => text)
      .join('').length,
    long.length,
  )
})

test('what is hidden in a name is shown, and an address is a number where it is one', () => {
  assert.equal(visible('evil\u202Egpj.exe'), 'evil␣gpj.exe')
  assert.equal(visible('João Çelik 张伟'), 'João Çelik 张伟')
  assert.equal(addressOf('5511999990000@s.whatsapp.net'), '+5511999990000')
  assert.equal(addressOf('123@g.us'), '#123')
})

test('each chat is one lane, the message under way first, then as they were accepted', () => {
  const at = (minute: number): string => `2026-11-29T10:0${minute}:00.000Z`
  const lanes = lanesOf([
    message('m3', { acceptedAt: at(3) }),
    message('m2', { acceptedAt: at(2), state: 'PROCESSING' }),
    message('m1', { acceptedAt: at(1) }),
    message('other', { chat: 'b@s.whatsapp.net' }),
    message('elsewhere', { instance: 'ins_2' }),
  ])
  assert.deepEqual(
    lanes.map(({ messages }) => messages.map(({ id }) => id)),
    [['m2', 'm1', 'm3'], ['other'], ['elsewhere']],
  )
})

test('the way of a message ends where it ended', () => {
  const stage = {
    stage: 'typing',
    since: 2,
    times: { reading: 1, typing: 2 },
    chat: '',
    instance: '',
  } as const
  const names = (steps: ReturnType<typeof timelineOf>): readonly string[] => steps.map(({ name }) => name)
  assert.deepEqual(names(timelineOf(message('m', { state: 'PROCESSING' }), stage, english)), [
    'Accepted, on disk',
    'Reading',
    'Typing',
    'Sent',
    'Delivered',
    'Read',
  ])
  assert.deepEqual(names(timelineOf(message('m', { state: 'FAILED' }), undefined, english)), [
    'Accepted, on disk',
    'Failed',
  ])
})
