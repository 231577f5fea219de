import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { GatewayProcess, SimulatorProcess } from '../harness.ts'

const COMPANY = '5511900000001'
const CAROL = '5511910000001'

test('kill -9 between the acknowledgement and the retry request: the recipient still gets the message', async (t) => {
  const simulator = await SimulatorProcess.start(t)
  await simulator.call('POST', '/contacts', { number: CAROL, name: 'Carol', autoReceipt: true })
  const gateway = await GatewayProcess.start(t, { whatsapp: simulator.whatsapp })
  const instance = await gateway.pair(simulator, COMPANY)
  const first = await gateway.send(instance, CAROL, 'before')
  await gateway.untilMessage(first.id, 'DELIVERED')

  // Acknowledged by the server while the contact is away; then the contact loses its keys, and we lose our process.
  await simulator.call('POST', `/contacts/${CAROL}/online`, { online: false })
  const second = await gateway.send(instance, CAROL, 'nobody but the disk remembers this')
  const { waMessageId } = await gateway.untilMessage(second.id, 'SENT')
  await gateway.kill()
  await simulator.call('POST', `/contacts/${CAROL}/reinstall`, {})
  await gateway.start()
  await gateway.untilState(instance, 'online')
  await simulator.call('POST', `/contacts/${CAROL}/online`, { online: true })

  await until(
    async () => (await simulator.inbox(CAROL)).some((message) => message.waMessageId === waMessageId),
    'the retry request is answered from the database',
  )
  await gateway.untilMessage(second.id, 'DELIVERED')
  await simulator.check()
})
