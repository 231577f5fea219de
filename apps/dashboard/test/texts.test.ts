import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseSync } from 'vite'
import { en } from '../src/i18n/en.ts'
import { ptBr } from '../src/i18n/pt-br.ts'

const src = join(import.meta.dirname, '../src')

test('both languages have the same keys, in the same order, with the same values in them', () => {
  assert.deepEqual(Object.keys(ptBr), Object.keys(en))
  const holes = (text: string): readonly string[] => (text.match(/\{\w+\}/g) ?? []).toSorted()
  for (const [key, text] of Object.entries(en)) {
    assert.deepEqual(holes(ptBr[key as keyof typeof en]), holes(text), key)
    assert.notEqual(ptBr[key as keyof typeof en].trim(), '', key)
  }
})

test('a text with a count has both of its forms', () => {
  const keys = new Set<string>(Object.keys(en))
  for (const key of keys) {
    if (key.endsWith('_one')) assert.ok(keys.has(key.replace(/_one$/, '_other')), key)
    if (key.endsWith('_other')) assert.ok(keys.has(key.replace(/_other$/, '_one')), key)
  }
})

/** Attributes whose text people read or hear. */
const SPOKEN = new Set(['title', 'label', 'alt', 'placeholder', 'aria-label', 'description', 'data-label'])
/** A word of a language, not a sign, a unit or an example of a number. */
const WORD = /\p{L}{2,}/u

/** Every text for people that stands in the code itself. */
function literalTexts(code: string, file: string): readonly string[] {
  const { program } = parseSync(file, code, { lang: 'tsx' })
  const found: string[] = []
  const look = (node: unknown): void => {
    if (Array.isArray(node)) {
      for (const one of node) look(one)
      return
    }
    if (typeof node !== 'object' || node === null) return
    const { type, value, name } = node as { type?: string; value?: unknown; name?: { name?: string } }
    if (type === 'JSXText' && WORD.test(String(value))) found.push(String(value).trim())
    if (type === 'JSXAttribute' && SPOKEN.has(String(name?.name))) {
      const text = (value as { type?: string; value?: unknown } | null) ?? {}
      if (text.type === 'Literal' && WORD.test(String(text.value))) found.push(String(text.value))
    }
    for (const child of Object.values(node)) look(child)
  }
  look(program)
  return found
}

test('no text for people stands in a component', () => {
  const planted = `const A = () => <p title="Hello you">Some words <b aria-label={t('x')}>{t('y')}</b> · 12 %</p>`
  assert.deepEqual(literalTexts(planted, 'planted.tsx').toSorted(), ['Hello you', 'Some words'])
  const wrong = globSync('**/*.tsx', { cwd: src }).flatMap((file) =>
    literalTexts(readFileSync(join(src, file), 'utf8'), file).map((text) => `${file}: ${text}`),
  )
  assert.deepEqual(wrong, [])
})
