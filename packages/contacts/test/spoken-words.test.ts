import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { hearOwnWish, hearWish } from '../src/index.ts'

function linesOf(file: string): readonly string[] {
  const text = readFileSync(new URL(`phrases/${file}`, import.meta.url), 'utf8')
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
}

const isOptOut = (text: string): boolean => ['opt_out', 'leave'].includes(hearWish(text) ?? '')

const phrasings = linesOf('opt-out.txt').map((line) => {
  const [, language, kind, text] = /^(..) (word|phrase|typo) (.+)$/.exec(line) ?? []
  return { language: language ?? '', kind: kind ?? '', text: text ?? '' }
})

test('hears every opt-out word, and 98 % of all phrasings, in each language', () => {
  assert(phrasings.length >= 300)
  for (const language of ['pt', 'en', 'es']) {
    const ofLanguage = phrasings.filter((one) => one.language === language)
    assert(ofLanguage.length >= 100)
    const words = ofLanguage.filter(({ kind }) => kind === 'word')
    assert(words.length >= 25)
    assert.deepEqual(
      words.filter(({ text }) => !isOptOut(text)),
      [],
    )
    const missed = ofLanguage.filter(({ text }) => !isOptOut(text))
    assert(missed.length / ofLanguage.length <= 0.04, `${language}: ${JSON.stringify(missed)}`)
  }
  const missed = phrasings.filter(({ text }) => !isOptOut(text))
  assert(missed.length / phrasings.length <= 0.02, JSON.stringify(missed))
})

test('takes at most 1 % of 2,000 ordinary lines for an opt-out', () => {
  const lines = linesOf('ordinary.txt').map((line) => line.slice(3))
  assert.equal(lines.length, 2000)
  assert.equal(new Set(lines).size, 2000)
  const stops = lines.filter(isOptOut)
  assert(stops.length <= 20, JSON.stringify(stops))
})

test('knows words that may mean a menu from those that can mean nothing else', () => {
  for (const word of ['sair', 'Salir!', 'cancelar', 'cancel', 'end', 'quero sair']) {
    assert.equal(hearWish(word), 'leave', word)
  }
  for (const word of ['STOP', 'parar', 'BAJA', 'unsubscribe', 'descadastrar', 'sair da lista']) {
    assert.equal(hearWish(word), 'opt_out', word)
  }
})

test('hears whom to talk to, and who comes back', () => {
  const people = [
    'ATENDENTE',
    'Humano!',
    'quero falar com um atendente',
    'agent please',
    'can I talk to a human?',
  ]
  for (const text of [...people, 'quiero hablar con una persona', 'oi, atendente', 'falar com alguém']) {
    assert.equal(hearWish(text), 'person', text)
  }
  for (const text of ['START', 'voltar', 'Volver.', 'quero voltar a receber mensagens']) {
    assert.equal(hearWish(text), 'opt_in', text)
  }
})

test('hears own words in any spelling, as the whole message alone', () => {
  const own = { optOut: ['Não me interessa'], person: ['Vendedora'] }
  for (const text of ['nao me interessa', 'NÃO ME INTERESSA!!', 'oi, não me interessa, obrigado']) {
    assert.equal(hearOwnWish(text, own), 'opt_out', text)
  }
  assert.equal(hearOwnWish('Vendedora por favor 🙏', own), 'person')
  for (const text of ['', '🙏', 'não me interessa a cor', `vendedora ${'x'.repeat(240)}`, 'vendedor']) {
    assert.equal(hearOwnWish(text, own), null, text)
  }
})

test('makes nothing of stickers, silence, long letters and hostile ones', () => {
  for (const text of [
    '',
    ' ',
    '👍',
    '\ud800',
    '...',
    '123',
    'stop '.repeat(60),
    `${'parar de '.repeat(26)}x`,
  ]) {
    assert.equal(hearWish(text), null, text.slice(0, 20))
  }
  const hostile = [
    'nao quero '.repeat(24),
    `no ${'a '.repeat(110)}`,
    'x'.repeat(240),
    'me '.repeat(80),
    'ﷺ'.repeat(240),
  ]
  for (const text of hostile) assert.equal(hearWish(text), null)
})
