import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { unboundedCollections } from './collections.ts'

test('every collection that outlives a call says what bounds it', () => {
  const wrong = globSync('{packages,apps}/*/src/**/*.ts').flatMap((file) =>
    unboundedCollections(readFileSync(file, 'utf8')).map(
      ({ line, name }) => `${file.replaceAll('\\', '/')}:${line} ${name} says no "bounded by:"`,
    ),
  )
  assert.deepEqual(wrong, [])
})

/** One planted declaration in the place where it would stand. */
function inClass(...lines: readonly string[]): string {
  return ['class Thing {', ...lines.map((line) => `  ${line}`), '}', ''].join('\n')
}

test('a planted collection without a bound is found, wherever it is kept', () => {
  const planted: Readonly<Record<string, string>> = {
    'a field': inClass('readonly #things = new Map<string, Thing>()'),
    'a field with a type': inClass('#things: Set<string> = new Set()'),
    'an array': inClass('#things: string[] = []'),
    'an array without a type': inClass('readonly things = []'),
    'a field that the constructor sets': inClass(
      'readonly #things: Map<string, Thing>',
      '',
      'constructor() {',
      '  this.#things = new Map()',
      '}',
    ),
    'a read-only view of one': inClass('readonly #things: ReadonlyMap<string, Thing>'),
    'one whose value is on the next line': inClass(
      'readonly #things: ReadonlyMap<string, Thing> =',
      '  new Map()',
    ),
    'an open record': inClass('readonly #things: Record<string, Thing> = {}'),
    'a list of another shape': inClass('#waiting: (() => void)[] = []'),
    'a static one': inClass('static readonly things = new Set<string>()'),
    'a filled array': inClass('readonly #slots = Array.from({ length: 10 }, () => null)'),
    'module state': 'const things = new Map<string, Thing>()\n',
    'exported module state': 'export const things: Set<string> = new Set()\n',
    'a list in a module': 'let things: string[] = []\n',
    'a comment about something else': inClass('// what waits', '#things: string[] = []'),
    'a bound that belongs to the field before': inClass(
      '// bounded by: maxThings',
      '#things: string[] = []',
      '#others: string[] = []',
    ),
  }
  for (const [what, source] of Object.entries(planted))
    assert.equal(unboundedCollections(source).length, 1, what)
})

test('what says its bound, cannot grow, is weak, or ends with its call is left alone', () => {
  const fine: Readonly<Record<string, string>> = {
    'a bound above it': inClass('// bounded by: maxThings', 'readonly #things = new Map<string, Thing>()'),
    'a bound behind it': inClass('#things: string[] = [] // bounded by: maxThings'),
    'a bound in a longer comment': inClass(
      '/**',
      ' * Things. bounded by: maxThings',
      ' */',
      '#things: string[] = []',
    ),
    'a weak one': inClass('readonly #things = new WeakMap<object, Thing>()'),
    'a local one': 'function f(): void {\n  const things = new Map<string, Thing>()\n}\n',
    'one inside a method': inClass('f(): void {', '  const things: string[] = []', '}'),
    'a table in the code': "const NAMES: ReadonlySet<string> = new Set(['a', 'b'])\n",
    'a list in the code': "const NAMES = ['a', 'b'] as const\n",
    'a number': inClass('#count = 0'),
  }
  for (const [what, source] of Object.entries(fine)) assert.deepEqual(unboundedCollections(source), [], what)
})
