import { setImmediate as nextTurn } from 'node:timers/promises'
import { initAuthCreds, makeWASocket, type SignalDataTypeMap, type WASocket } from 'baileys'
import { silenceLibsignal } from '@eclusa/baileys'

/*
 * The rival of bench/messages.ts: Baileys alone, as its README shows it, keys in memory, one `await sendMessage` after
 * another. It stores nothing, waits for no acknowledgement and loses everything when it ends. The only thing added is
 * a turn of the event loop after each send, without which the process starves and its socket times out.
 */

silenceLibsignal()
const [url = '', control = '', number = ''] = process.argv.slice(2)
const quiet = {
  level: 'silent',
  child: () => quiet,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
}
const creds = initAuthCreds()
const store = new Map<string, unknown>()
const keys = {
  get: <T extends keyof SignalDataTypeMap>(type: T, ids: string[]): { [id: string]: SignalDataTypeMap[T] } =>
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
}

const socket = await open()
process.send?.('ready')
process.on('message', (question: { contacts: string[]; count: number } | string) => {
  if (typeof question === 'string') {
    const { user, system } = process.cpuUsage()
    process.send?.({ cpuMicros: user + system })
    return
  }
  void send(question.contacts, question.count).then(() => process.send?.('sent'))
})

async function send(contacts: readonly string[], count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    await socket.sendMessage(`${contacts[index % contacts.length]}@s.whatsapp.net`, {
      text: `message ${index}`,
    })
    await nextTurn()
  }
}

/** Links itself by QR, follows the restart, resolves when online. */
function open(): Promise<WASocket> {
  return new Promise((resolve) => {
    const connect = (): void => {
      const made = makeWASocket({
        auth: { creds, keys },
        waWebSocketUrl: url,
        logger: quiet,
        syncFullHistory: false,
      })
      made.ev.on('creds.update', (update) => Object.assign(creds, update))
      made.ev.on('connection.update', ({ qr, connection, lastDisconnect }) => {
        if (qr !== undefined) {
          void fetch(`${control}/numbers/${number}/scan`, {
            method: 'POST',
            body: JSON.stringify({ qr }),
            headers: { 'content-type': 'application/json' },
          })
        }
        if (connection === 'open') resolve(made)
        if (connection === 'close' && lastDisconnect?.error !== undefined) connect()
      })
    }
    connect()
  })
}
