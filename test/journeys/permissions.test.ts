import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

const COMPANY = '5511900000001'
const CONTACT = '5511910000001'

test('under the permissions of Node a number is linked, writes and is answered, and nothing else can be written', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'eclusa-permissions-'))
  const simulator = await SimulatorProcess.start(t)
  await simulator.call('POST', '/contacts', { number: CONTACT, name: 'Carol', autoReceipt: true })
  // What a package might try, told by its outcome.
  const probe = path.join(folder, 'probe.mjs')
  writeFileSync(
    probe,
    `import { spawn } from 'node:child_process'
     import { writeFileSync } from 'node:fs'
     const codeOf = (run) => { try { run(); return 'done' } catch (error) { return error.code } }
     if (process.permission !== undefined) process.stdout.write('PROBE ' + JSON.stringify({
       outside: codeOf(() => writeFileSync(${JSON.stringify(path.join(folder, 'stolen'))}, 'x')),
       program: codeOf(() => spawn('true')),
     }) + '\\n')`,
  )
  const gateway = await GatewayProcess.start(t, {
    whatsapp: simulator.whatsapp,
    folder,
    env: {
      ECLUSA_PERMISSIONS: 'on',
      ECLUSA_MASTER_KEY: 'gOjUVYdzg2D8+1tRZg7sWWuRIYAEPv0QQgZrCdmTdNE=',
    },
    nodeArgs: ['--import', probe],
  })
  t.after(async () => {
    await gateway.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const probed = JSON.parse(/PROBE (.*)/.exec(gateway.output)?.[1] ?? '{}') as object
  assert.deepEqual(probed, { outside: 'ERR_ACCESS_DENIED', program: 'ERR_ACCESS_DENIED' })
  const instance = await gateway.pair(simulator, COMPANY)
  const { id } = await gateway.send(instance, CONTACT, 'Hello')
  await gateway.untilMessage(id, 'DELIVERED')
  assert.equal(await gateway.stop(), 0)
})
