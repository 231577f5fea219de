import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { useMultiFileAuthState } from 'baileys'
import { silenceLibsignal } from '@eclusa/baileys'
import { BareSocket } from './bare-socket.ts'

/*
 * The rival of bench/soak.ts: many numbers in one process on Baileys alone, as its README does it: keys in files
 * (useMultiFileAuthState) behind makeCacheableSignalKeyStore, all other caches its own defaults, a new socket after
 * each disconnect. A post to `/<instance>` with `{to, text}` is sent in its turn, and once more on the next connection
 * when sending failed; nothing else is kept. libsignal's console output is silenced, which would cost more than all
 * the rest.
 */

/** A message that cannot be sent in so many turns is given up. */
const MAX_TRIES = 5

silenceLibsignal()
const [url = '', count = '0', folder = ''] = process.argv.slice(2)

// bounded by: what the caller leaves unanswered; here as in the rivals' own examples, nothing
const received: string[] = []
// bounded by: count
const sockets: BareSocket[] = []
for (let instance = 0; instance < Number(count); instance++) {
  // One links itself after the other: each writes a file per pre-key at once, and all together run out of descriptors.
  const socket = await open(instance)
  await socket.online
  sockets.push(socket)
}
const turns = sockets.map(() => Promise.resolve())
setInterval(() => {
  if (received.length > 0) process.send?.({ received: received.splice(0) })
}, 250)

// Kept open for ever: a post on a connection that is just being closed would be sent twice or not at all.
const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
  let body = ''
  request.setEncoding('utf8')
  request.on('data', (part: string) => (body += part))
  request.on('end', () => {
    const instance = Number(request.url?.slice(1))
    const { to, text } = JSON.parse(body) as { to: string; text: string }
    turns[instance] = (turns[instance] ?? Promise.resolve()).then(() =>
      send(instance, `${to.slice(1)}@s.whatsapp.net`, text),
    )
    response.writeHead(202).end()
  })
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
process.on('disconnect', () => process.exit(0))

async function open(instance: number): Promise<BareSocket> {
  const { state, saveCreds } = await useMultiFileAuthState(path.join(folder, String(instance)))
  return new BareSocket({
    url,
    state,
    save: saveCreds,
    cachedKeys: true,
    onQr: (qr) => process.send?.({ instance, qr }),
    onSocket: (socket) => {
      socket.ev.on('messages.upsert', ({ messages, type }) => {
        for (const { key, message } of messages) {
          const text = message?.conversation ?? message?.extendedTextMessage?.text
          // A history brings messages too; those are of type append and nobody's to count.
          if (
            key.fromMe !== true &&
            typeof text === 'string' &&
            (type === 'notify' || text.startsWith('in '))
          ) {
            received.push(text)
          }
        }
      })
    },
  })
}

async function send(instance: number, jid: string, text: string): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const socket = await sockets[instance]?.online
    try {
      await socket?.sendMessage(jid, { text })
      return
    } catch {
      // Until the socket notices, the promise of the old one is all there is.
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }
}
