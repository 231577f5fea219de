import assert from 'node:assert/strict'
import { silentLogger } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { type OpenedDatabase, openDatabase } from '@eclusa/storage'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { acme, migrations, openWebhooks, receiverOf } from './harness.ts'

eachDatabase(({ dialect, test, open }) => {
  // SQLite is one process's alone.
  if (dialect === 'sqlite') return
  test('of two processes on one database one sends, and the other goes on where it ended', async (t) => {
    const receiver = await receiverOf(t)
    const { place } = await open(t, migrations)
    assert.ok('url' in place)
    const clock = new ManualClock()
    const processOf = async (
      node: string,
    ): Promise<ReturnType<typeof openWebhooks> & { database: OpenedDatabase }> => {
      const database = await openDatabase({ ...place, node, migrations, log: silentLogger })
      t.after(() => database.stop())
      const { neighbours, ownership } = database
      const opened = openWebhooks(database, clock, {
        allow: `127.0.0.1:${receiver.port}`,
        ownership,
        neighbours,
      })
      await opened.webhooks.start()
      t.after(() => opened.stop())
      return { ...opened, database }
    }
    const one = await processOf('one')
    const two = await processOf('two')
    // Made at the process that does not send.
    const input = { url: receiver.url, types: ['*'], instance: null, description: '' }
    const hook = await two.webhooks.create(acme, input)
    const happens = (text: string): Promise<unknown> =>
      two.database.write([
        two.log.append({ tenant: acme, instance: null, type: 'outbound.sent', payload: { text } }),
      ])
    const texts = (): unknown[] => receiver.got.map(({ event }) => event.payload['text'])
    await happens('first')
    await until(() => receiver.got.length === 1, 'the first')
    await until(async () => (await two.webhooks.health(hook.id)).cursor > 0, 'it is settled')
    await one.stop()
    await happens('second')
    await until(() => receiver.got.length === 2, 'the second')
    assert.deepEqual(texts(), ['first', 'second'])
    assert.notEqual(receiver.got[0]?.headers['webhook-id'], receiver.got[1]?.headers['webhook-id'])
  })
})
