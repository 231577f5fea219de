import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

const COMPANY = '5511900000001'
const SLOW = '5511950000001'
const OTHER = '5511950000002'
const DISK = '24m'

/** Whether this machine lets a process have a file system of its own. */
function canMount(): boolean {
  try {
    execFileSync('unshare', ['-rm', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test('on a full disk accepting is 507, what was acknowledged is written when there is space again, and nothing is lost or doubled', async (t) => {
  if (!canMount()) {
    // Not even CI must have it: containers mostly refuse, and the queue's own test of a full database runs everywhere.
    t.skip('NOT TESTED: this system lets no process mount a small disk of its own (unshare -rm)')
    return
  }
  const simulator = await SimulatorProcess.start(t)
  for (const number of [SLOW, OTHER])
    await simulator.call('POST', '/contacts', { number, name: number, autoReceipt: true })
  const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-full-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const mount = `mount -t tmpfs -o size=${DISK} tmpfs "$0" && exec "$@"`
  const gateway = await GatewayProcess.start(t, {
    whatsapp: simulator.whatsapp,
    folder: mkdtempSync(path.join(folder, 'unused-')),
    env: { ECLUSA_DATA_DIR: path.join(folder, 'data'), ECLUSA_KEY_FILE: path.join(folder, 'key') },
    wrapper: ['unshare', '-rm', 'sh', '-c', mount, folder],
  })
  const instance = await gateway.pair(simulator, COMPANY)
  const fault = { on: 'ack', do: 'delay', ms: 3000, times: 1, match: { contact: SLOW } }
  await simulator.call('POST', '/faults', fault)
  // A receipt would be an acknowledgement, too.
  await simulator.call('POST', `/contacts/${SLOW}/online`, { online: false })
  const slow = await gateway.send(instance, SLOW, 'acknowledged on a full disk')
  await until(async () => {
    const why = await gateway.call<{ waits: { reason: string }[] }>('GET', `/v1/messages/${slow.id}/why`)
    return why.waits[0]?.reason === 'ON_THE_WIRE'
  }, 'it is on the wire')

  // Its disk as that process sees it.
  const ballast = path.join(`/proc/${gateway.pid}/root`, folder, 'ballast')
  fillUp(ballast)
  const accepted: string[] = []
  let refused: Response | undefined
  while (refused === undefined && accepted.length < 5000) {
    const body = { to: `+${OTHER}`, text: `message ${accepted.length} ${'x'.repeat(2000)}` }
    const answer = await gateway.fetch('POST', `/v1/instances/${instance}/messages`, body)
    if (answer.status === 202) accepted.push(((await answer.json()) as { id: string }).id)
    else refused = answer
  }
  assert.equal(refused?.status, 507)
  assert.equal(refused.headers.get('retry-after'), '5')
  assert.equal(((await refused.json()) as { code: string }).code, 'STORAGE_FULL')
  await until(
    () => /its chat tries again by itself/.test(gateway.output),
    'a write about a message under way fails, too',
  )
  assert.equal((await gateway.message(slow.id)).state, 'PROCESSING')

  rmSync(ballast)
  await gateway.untilMessage(slow.id, 'SENT')
  await simulator.call('POST', `/contacts/${SLOW}/online`, { online: true })
  for (const id of [slow.id, ...accepted]) await gateway.untilMessage(id, 'DELIVERED', 60_000)
  const arrived = await simulator.inbox(SLOW)
  assert.equal(arrived.length, 1)
  // Where the full disk also kept a key of the connection from being written, the connection was cut before the
  // acknowledgement came: then the message went again under its id, which the contact's phone drops.
  const wasCut = /connection cut: the database failed/.test(gateway.output)
  assert.ok((arrived[0]?.repeats ?? 0) <= (wasCut ? 1 : 0))
  const texts = (await simulator.inbox(OTHER)).map(({ text }) => text.split(' ')[1])
  assert.deepEqual(
    texts,
    accepted.map((_, nth) => String(nth)),
  )
  await simulator.check()
})

/** Writes until there is no space left. */
function fillUp(file: string): void {
  const handle = openSync(file, 'w')
  try {
    for (const bytes of [65_536, 4096, 512]) {
      const block = Buffer.alloc(bytes)
      try {
        while (writeSync(handle, block) === bytes);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ENOSPC')
      }
    }
  } finally {
    closeSync(handle)
  }
}
