import { type AuthenticationState, makeCacheableSignalKeyStore, makeWASocket, type WASocket } from 'baileys'

/** Writes nothing, as a rival should not be slowed by lines that nobody reads. */
const quiet = {
  level: 'silent',
  child: () => quiet,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
}

export interface BareSocketOptions {
  readonly url: string
  readonly state: AuthenticationState
  readonly save: () => Promise<void>
  readonly onQr: (qr: string) => void
  /** Wraps the keys in Baileys' own cache, as its README advises. Default false. */
  readonly cachedKeys?: boolean
  /** Every socket there is in turn, before it is open: to listen to. */
  readonly onSocket?: (socket: WASocket) => void
}

/** One number on Baileys alone: links itself by QR, follows the restart, connects anew when it was dropped. */
export class BareSocket {
  readonly #options: BareSocketOptions
  #open = Promise.withResolvers<WASocket>()

  constructor(options: BareSocketOptions) {
    this.#options = options
    this.#connect()
  }

  /** The socket as soon as it is online. */
  get online(): Promise<WASocket> {
    return this.#open.promise
  }

  #connect(): void {
    const { url, state, save, onQr, cachedKeys = false, onSocket } = this.#options
    const socket = makeWASocket({
      auth: cachedKeys ? { creds: state.creds, keys: makeCacheableSignalKeyStore(state.keys, quiet) } : state,
      waWebSocketUrl: url,
      logger: quiet,
      syncFullHistory: false,
    })
    onSocket?.(socket)
    let isOpen = false
    socket.ev.on('creds.update', (update) => {
      Object.assign(state.creds, update)
      void save()
    })
    socket.ev.on('connection.update', ({ qr, connection, lastDisconnect }) => {
      if (qr !== undefined) onQr(qr)
      if (connection === 'open') {
        isOpen = true
        this.#open.resolve(socket)
      }
      if (connection === 'close' && lastDisconnect?.error !== undefined) {
        if (isOpen) this.#open = Promise.withResolvers()
        this.#connect()
      }
    })
  }
}
