import assert from 'node:assert/strict'
import { type InstanceId, silentLogger } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { openDatabase } from '@eclusa/storage'
import { eachDatabase, runSql } from '@eclusa/storage/test-kit'
import { ownInstances } from '../src/instances/own-instances.ts'
import { newInstance, pairByQr, startGateway, stateOf } from './harness.ts'

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('a second gateway on the same database waits for a lease to run out, then gives up', async (t) => {
    const { place } = await open(t, [])
    const nodes = await Promise.all(
      ['a', 'b'].map((node) => openDatabase({ ...place, node, migrations: [], log: silentLogger })),
    )
    t.after(async () => void (await Promise.all(nodes.map((node) => node.stop()))))
    const [first, second] = nodes.map(({ ownership }) => ownership)
    const clock = new ManualClock()
    const instances = ['ins_1' as InstanceId]
    await ownInstances(first!, instances, { clock, log: silentLogger })
    assert.equal(first!.owns(instances[0]!), true)
    const refused = assert.rejects(ownInstances(second!, instances, { clock, log: silentLogger }), {
      code: 'STORAGE_IN_USE',
    })
    const giveUpAt = clock.now() + 20_000
    await until(async () => {
      await clock.tick(500)
      return clock.now() > giveUpAt + 1000
    }, 'its patience to end')
    await refused
    await nodes[0]!.stop()
    await ownInstances(second!, instances, { clock, log: silentLogger })
    assert.equal(second!.owns(instances[0]!), true)
  })

  test('an instance that another node took loses its session at once, and connects again when it is free', async (t) => {
    const simulator = await createSimulator()
    t.after(() => simulator.stop())
    const gateway = await startGateway(t, { ECLUSA_WHATSAPP_URL: simulator.url })
    const id = await newInstance(gateway)
    await pairByQr(gateway, simulator.addNumber('5511900000101'), id)
    await runSql(
      gateway.databaseUrl,
      `update "InstanceLease" set node = 'other', epoch = epoch + 1,
      "expiresAt" = clock_timestamp() + interval '1 hour' where instance = '${id}'`,
    )
    simulator.addContact('5511900000201')
    const message = { to: '5511900000201@s.whatsapp.net', text: 'Hello' }
    const { status, body } = await gateway.call('POST', `/v1/instances/${id}/messages`, message)
    // Accepted for the owner, whoever that will be.
    assert.equal(status, 202, JSON.stringify(body))
    await until(async () => (await stateOf(gateway, id)) === 'stopped', 'its session has ended')
    await runSql(gateway.databaseUrl, `update "InstanceLease" set "expiresAt" = clock_timestamp()`)
    await until(async () => (await stateOf(gateway, id)) === 'online', 'it is online again')
    const ofMessage = async () =>
      (await gateway.call('GET', `/v1/messages/${String(body['id'])}`)).body['state']
    await until(async () => (await ofMessage()) !== 'PENDING', 'what was accepted meanwhile goes on')
  })
})
