import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MessageId, makeMessageId } from '@eclusa/kernel'
import { LiveView } from '../src/demo/live-view.ts'
import { qrPng, qrSvg, qrTerminal } from '../src/qr.ts'
import { Terminal } from '../src/terminal.ts'

function capture(isTTY: boolean): { terminal: Terminal; written: () => string } {
  let text = ''
  const terminal = new Terminal({
    isTTY,
    write: (more) => {
      text += more
    },
    size: () => ({ columns: 80, rows: 24 }),
  })
  return { terminal, written: () => text }
}

function accept(view: LiveView, seq: number, at = 0, text: string | null = 'Hi'): MessageId {
  const id = makeMessageId(seq)
  view.accepted({ id, at, from: 'Bakery', to: 'Ana', text })
  return id
}

test('on a pipe a message is one whole line, written when it is read', () => {
  const { terminal, written } = capture(false)
  const view = new LiveView(terminal)
  const id = accept(view, 1)
  for (const [step, at] of [
    ['reading', 1000],
    ['typing', 3000],
    ['sent', 8000],
    ['delivered', 8100],
  ] as const) {
    view.step(id, step, at)
  }
  assert.equal(written(), '')
  view.step(id, 'read', 9500)
  assert.match(
    written(),
    /^\d\d:\d\d:\d\d {2}Bakery → Ana {2}accepted → reading → typing → sent → delivered → read {2}9\.5 s {2}“Hi”\n$/,
  )
})

test('receipts that overtake each other are shown in the order of the chain', () => {
  const { terminal, written } = capture(false)
  const view = new LiveView(terminal)
  const id = accept(view, 1)
  view.step(id, 'delivered', 1)
  view.step(id, 'sent', 2)
  view.step(id, 'read', 3)
  assert.match(written(), /accepted → sent → delivered → read/)
})

test('a failed message says why', () => {
  const { terminal, written } = capture(false)
  const view = new LiveView(terminal)
  view.failed(accept(view, 1), 'SESSION_NUMBER_UNKNOWN', 500)
  assert.match(written(), /accepted → failed: SESSION_NUMBER_UNKNOWN/)
})

test('on a terminal the line is redrawn in place, and other lines scroll above it', () => {
  const { terminal, written } = capture(true)
  const view = new LiveView(terminal)
  const id = accept(view, 1)
  view.step(id, 'reading', 1)
  assert.ok(written().includes('\u001b[1A\u001b[2K'))
  terminal.print('a log line')
  const afterLog = written().split('a log line\n').at(-1) ?? ''
  assert.match(afterLog, /accepted → reading …/)
})

test('at most 12 messages hold a line; the oldest joins the scroll', () => {
  const { terminal, written } = capture(false)
  const view = new LiveView(terminal)
  for (let seq = 1; seq <= 30; seq++) accept(view, seq)
  assert.equal(written().split('\n').length - 1, 18)
})

test('a text cannot steer the terminal', () => {
  const { terminal, written } = capture(false)
  const view = new LiveView(terminal)
  view.inbound({ at: 0, from: 'Ana', to: 'Bakery', text: `a\u001b[2Jb\nc\u202ed${'e'.repeat(100)}` })
  for (const steering of ['\u001b', '\n', '\u202e']) assert.ok(!written().trimEnd().includes(steering))
  assert.match(written(), /“a \[2Jb c de+…”/)
})

test('a QR code comes as SVG, PNG and half blocks', async () => {
  assert.match(await qrSvg('2@abc'), /^<svg /)
  assert.deepEqual([...(await qrPng('2@abc')).subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47])
  assert.match(await qrTerminal('2@abc'), /[▀▄█]/)
})
