#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { ControlApi } from './control-api.ts'
import { createSimulator } from './simulator.ts'

const HELP = `A WhatsApp server for Baileys clients, on this machine only.

  --port N            port of the WebSocket; 0 (default) for any free one
  --control-port N    port of the control API; 0 (default) for any free one
  --seed N            same seed, same LIDs and message ids (default 1)
  --addressing X      how contacts address numbers: pn (default) or lid
  --max-devices N     linked devices per number (default 4)
  --transcript N      stanzas remembered per device (default 200)
  --skip-pre-keys     tell new clients that they need not upload pre-keys
  --parent            end when standard input closes, too

The first line of output is {"whatsapp":"ws://…","control":"http://…"}. Ends on SIGINT and SIGTERM.
`

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'control-port': { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    addressing: { type: 'string', default: 'pn' },
    'max-devices': { type: 'string', default: '4' },
    transcript: { type: 'string', default: '200' },
    'skip-pre-keys': { type: 'boolean', default: false },
    parent: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
if (values.addressing !== 'pn' && values.addressing !== 'lid')
  fail('addressing', values.addressing, 'pn or lid')

const simulator = await createSimulator({
  port: whole('port', values.port, 65_535),
  seed: whole('seed', values.seed, 0xffff_ffff),
  addressing: values.addressing,
  maxDevices: whole('max-devices', values['max-devices'], 1000),
  maxTranscript: whole('transcript', values.transcript, 100_000),
  skipPreKeyUpload: values['skip-pre-keys'],
})
const control = new ControlApi(simulator)
const controlUrl = await control.listen(whole('control-port', values['control-port'], 65_535))
process.stdout.write(`${JSON.stringify({ whatsapp: simulator.url, control: controlUrl })}\n`)

let stopping = false
async function stop(): Promise<void> {
  if (stopping) return
  stopping = true
  await control.stop()
  await simulator.stop()
  process.stdin.destroy()
}
process.on('SIGINT', () => void stop())
process.on('SIGTERM', () => void stop())
if (values.parent) {
  process.stdin.resume()
  process.stdin.on('end', () => void stop())
  process.stdin.on('error', () => void stop())
}

function whole(name: string, text: string, max: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value > max) fail(name, text, `a whole number from 0 to ${max}`)
  return value
}

function fail(name: string, value: string, rule: string): never {
  process.stderr.write(`--${name} ${value}: must be ${rule}\n`)
  process.exit(2)
}
