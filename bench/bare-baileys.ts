import { setImmediate as nextTurn } from 'node:timers/promises'
import { type AuthenticationState, useMultiFileAuthState } from 'baileys'
import { silenceLibsignal } from '@eclusa/baileys'
import { BareSocket } from './bare-socket.ts'
import { memoryKeys } from './memory-keys.ts'

/*
 * The rival of bench/messages.ts: Baileys alone, one `await sendMessage` after another, no acknowledgement awaited and
 * no message stored. With a folder as fourth argument its keys are kept as its README does it (useMultiFileAuthState:
 * a file per key, without fsync), without one they live in memory and are gone with the process. The only thing added
 * is a turn of the event loop after each send, without which the process starves and its socket times out.
 */

silenceLibsignal()
const [url = '', control = '', number = '', folder = ''] = process.argv.slice(2)
const { state, save } = folder === '' ? inMemory() : await inFiles(folder)
const bare = new BareSocket({
  url,
  state,
  save,
  onQr: (qr) => {
    void fetch(`${control}/numbers/${number}/scan`, {
      method: 'POST',
      body: JSON.stringify({ qr }),
      headers: { 'content-type': 'application/json' },
    })
  },
})
const socket = await bare.online
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

interface Kept {
  readonly state: AuthenticationState
  readonly save: () => Promise<void>
}

function inMemory(): Kept {
  return { state: memoryKeys(), save: () => Promise.resolve() }
}

async function inFiles(path: string): Promise<Kept> {
  const { state, saveCreds } = await useMultiFileAuthState(path)
  return { state, save: saveCreds }
}
