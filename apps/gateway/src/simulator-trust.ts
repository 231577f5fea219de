import { type Clock, type Logger, SECOND, sleep } from '@eclusa/kernel'
import { isSimulatorUrl } from './config.ts'

/** Of one question. */
const DEADLINE_MS = 2 * SECOND
const ASK_AGAIN_AFTER_MS = 0.25 * SECOND

interface AskOptions {
  readonly clock: Clock
  readonly log: Logger
}

interface ServerTrustOptions extends AskOptions {
  readonly url: string
  /** Makes it so; throws while sessions exist. */
  readonly use: (rootKey: Uint8Array | null) => void
}

/**
 * The root key of the simulator at a loopback `ws://` address, which tells it at `/root-key`; null for any other
 * address, and for a simulator that does not say, although asked again and again for `patienceMs` (and at least once).
 */
export async function rootKeyOf(
  whatsappUrl: string,
  options: AskOptions & { readonly patienceMs: number },
): Promise<Uint8Array | null> {
  if (!isSimulatorUrl(whatsappUrl)) return null
  const { clock, log, patienceMs } = options
  const giveUpAt = clock.now() + patienceMs
  for (;;) {
    try {
      return await ask(whatsappUrl, clock)
    } catch (error) {
      if (clock.now() + ASK_AGAIN_AFTER_MS > giveUpAt) {
        log.warn({ err: error }, 'the simulator tells no root key; its certificates may be refused')
        return null
      }
    }
    await sleep(clock, ASK_AGAIN_AFTER_MS)
  }
}

async function ask(whatsappUrl: string, clock: Clock): Promise<Uint8Array> {
  const abort = new AbortController()
  const timer = clock.setTimer(DEADLINE_MS, () => abort.abort())
  try {
    const { host } = new URL(whatsappUrl)
    const response = await fetch(`http://${host}/root-key`, { signal: abort.signal })
    const { publicKey } = (await response.json()) as { publicKey?: unknown }
    if (typeof publicKey !== 'string') throw new Error('it has no publicKey')
    return Buffer.from(publicKey, 'base64')
  } finally {
    timer.cancel()
  }
}

/**
 * Whom sessions trust at the configured address. WhatsApp's own key is known; a simulator's is asked for at boot and,
 * while it has not answered, again before each session that starts: one started at the same time as the gateway may
 * need a moment longer.
 */
export class ServerTrust {
  readonly #options: ServerTrustOptions
  #isSettled = false
  #wasAsked = false
  #asking: Promise<void> | null = null

  constructor(options: ServerTrustOptions) {
    this.#options = options
  }

  /** Asks if it must, for at least one question of 2 s; those who call meanwhile wait for the same answer. */
  settle(patienceMs = 0): Promise<void> {
    if (this.#isSettled) return Promise.resolve()
    this.#asking ??= this.#settle(patienceMs).finally(() => (this.#asking = null))
    return this.#asking
  }

  async #settle(patienceMs: number): Promise<void> {
    const { url, use, clock, log } = this.#options
    const rootKey = await rootKeyOf(url, { clock, log, patienceMs })
    this.#isSettled = rootKey !== null || !isSimulatorUrl(url)
    // At boot also no key is an answer: WhatsApp's own.
    if (rootKey === null && this.#wasAsked) return
    this.#wasAsked = true
    try {
      use(rootKey)
    } catch (error) {
      // The key is one for the whole process and cannot change under those that use it.
      log.warn(
        { err: error },
        'sessions run with another key: start the gateway again to trust the simulator',
      )
    }
  }
}
