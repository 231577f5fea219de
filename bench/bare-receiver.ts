import { silenceLibsignal } from '@eclusa/baileys'
import { BareSocket } from './bare-socket.ts'
import { memoryKeys } from './memory-keys.ts'

/*
 * The rival of bench/inbound.ts: Baileys alone, its keys in memory and gone with the process, counting what
 * `messages.upsert` tells of. It stores nothing, so nothing that it has received would survive it.
 */

silenceLibsignal()
const [url = ''] = process.argv.slice(2)
let received = 0
const bare = new BareSocket({
  url,
  state: memoryKeys(),
  save: () => Promise.resolve(),
  onQr: (qr) => process.send?.({ qr }),
  onSocket: (socket) => {
    socket.ev.on('messages.upsert', ({ messages }) => {
      received += messages.filter(({ message }) => message?.conversation).length
    })
  },
})
await bare.online
process.send?.({ ready: true })
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ received, cpuMicros: user + system })
})
