import { test } from 'node:test'
import { killGateway } from './kill-loop.ts'

test('kill -9 at 20 random moments loses nothing, doubles nothing and keeps every chat in order', async (t) => {
  await killGateway(t, { kills: 20, chats: 50, messagesPerChat: 20, seed: 20_261_121 })
})
