import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wantsDemo } from '../src/demo/demo.ts'
import { lintFlow } from '@eclusa/flows'
import {
  clinicFlow,
  clinicOperators,
  clinicSectors,
  clinicVisits,
  demoContacts,
  demoInstances,
} from '../src/demo/script.ts'

const fresh = { demo: 'auto', production: false, ownServer: false } as const

test('the demo runs by itself only where nothing real is: no instance, no production, no other server', () => {
  assert.equal(wantsDemo(fresh, false), true)
  assert.equal(wantsDemo(fresh, true), false)
  assert.equal(wantsDemo({ ...fresh, production: true }, false), false)
  assert.equal(wantsDemo({ ...fresh, ownServer: true }, false), false)
})

test('the demo can be switched on in production and off anywhere, but never runs beside a real instance', () => {
  assert.equal(wantsDemo({ ...fresh, demo: 'on', production: true }, false), true)
  assert.equal(wantsDemo({ ...fresh, demo: 'on' }, true), false)
  assert.equal(wantsDemo({ ...fresh, demo: 'off' }, false), false)
})

test('in the script no two contacts of one instance say the same, so that a message tells who wrote it', () => {
  demoInstances.forEach((_, index) => {
    const lines = demoContacts
      .filter((contact) => contact.writesTo === index)
      .flatMap((contact) => contact.dialogues.flat().map(([words]) => words))
    assert.equal(new Set(lines).size, lines.length)
  })
  assert.ok(demoContacts.every((contact) => demoInstances[contact.writesTo] !== undefined))
})

test('the clinic’s flow has no fault, and its operators and visits fit it', () => {
  const sectors = new Set<string>(clinicSectors.map(({ id }) => id))
  assert.deepEqual(lintFlow(clinicFlow, { sectors }), [])
  assert.deepEqual(new Set<string>(clinicOperators.map(({ sector }) => sector)), sectors)
  const said = clinicVisits.flatMap(({ says }) => says)
  assert.equal(new Set(said).size, said.length)
})
