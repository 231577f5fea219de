import { type AuthenticationState, initAuthCreds, type SignalDataTypeMap } from 'baileys'
import { silenceLibsignal } from '@eclusa/baileys'
import { BareSocket } from './bare-socket.ts'

/*
 * The rival of bench/inbound.ts: Baileys alone, its keys in memory and gone with the process, counting what
 * `messages.upsert` tells of. It stores nothing, so nothing that it has received would survive it.
 */

silenceLibsignal()
const [url = ''] = process.argv.slice(2)
let received = 0
const store = new Map<string, unknown>()
const state: AuthenticationState = {
  creds: initAuthCreds(),
  keys: {
    get: <T extends keyof SignalDataTypeMap>(
      type: T,
      ids: string[],
    ): { [id: string]: SignalDataTypeMap[T] } =>
      Object.fromEntries(
        ids.flatMap((id) => {
          const value = store.get(`${type}.${id}`)
          return value === undefined || value === null ? [] : [[id, value as SignalDataTypeMap[T]]]
        }),
      ),
    set: (data: Record<string, Record<string, unknown> | undefined>): void => {
      for (const [type, values] of Object.entries(data)) {
        for (const [id, value] of Object.entries(values ?? {})) store.set(`${type}.${id}`, value)
      }
    },
  },
}
const bare = new BareSocket({
  url,
  state,
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
