import { test } from 'node:test'
import { recordProof, scaled } from '../../packages/queue/test/proof/report.ts'
import { killGateway } from './kill-loop.ts'

const KILLS = scaled(200)
/** A run is judged as a whole, so a long one is several: each has a seed and a gateway of its own. */
const RUN = 25

test(`${KILLS} times kill -9 of the gateway while 50 chats are served`, async () => {
  const sum = { kills: 0, accepted: 0, inbound: 0, repeats: 0 }
  for (let seed = 3; sum.kills < KILLS; seed++) {
    const kills = Math.min(RUN, KILLS - sum.kills)
    const ends: (() => unknown)[] = []
    const scope = { after: (end: () => unknown) => void ends.push(end) }
    try {
      const result = await killGateway(scope, {
        kills,
        chats: 50,
        messagesPerChat: Math.ceil(kills * 1.1),
        seed,
      })
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += result[name]
    } finally {
      for (const end of ends) await end()
    }
    recordProof('kill -9 of the whole gateway', { of: KILLS, ...sum, chats: 50, violations: 0 })
  }
})
