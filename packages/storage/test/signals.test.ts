import assert from 'node:assert/strict'
import { type InstanceId, silentLogger } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { PostgresSignals } from '../src/postgres-signals.ts'
import { eachDatabase, runSql } from '../test-kit/index.ts'

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('signals of 5 ms reach the node they are for as one, each instance once; a lost connection is told as missed', async (t) => {
    const { url } = (await open(t, [])).place as { readonly url: string }
    const clock = new ManualClock()
    const [sender, receiver, other] = ['a', 'b', 'c'].map(
      (node) => new PostgresSignals({ url, node, log: silentLogger, clock }),
    ) as [PostgresSignals, PostgresSignals, PostgresSignals]
    t.after(async () => void (await Promise.all([sender, receiver, other].map((signals) => signals.stop()))))
    const heard: (readonly InstanceId[] | null)[] = []
    receiver.onSignal((instances) => heard.push(instances))
    other.onSignal((instances) => assert.equal(instances, null, 'it is for another node'))
    for (const signals of [sender, receiver, other]) signals.listen()
    await until(() => heard.length === 1, 'it listens')
    const instances = Array.from({ length: 300 }, (_, n) => `ins_${n}` as InstanceId)
    for (const instance of [...instances, ...instances]) sender.wake('b', instance)
    await clock.tick(4)
    assert.equal(heard.length, 1, 'they gather')
    await clock.tick(1)
    await until(() => heard.length === 3, 'the signals')
    assert.deepEqual([heard[1]?.length, heard[2]?.length], [250, 50])
    assert.deepEqual(heard.slice(1).flat(), instances)

    await runSql(
      url,
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'eclusa signals'`,
    )
    await until(() => heard.length === 4, 'it listens again')
    assert.equal(heard[3], null)
    sender.wake('b', instances[0]!)
    await clock.tick(5)
    await until(() => heard.length === 5, 'signals come again')
  })
})
