import { type Clock, type Logger, SECOND } from '@eclusa/kernel'
import { isSimulatorUrl } from './config.ts'

const DEADLINE_MS = 2 * SECOND

/**
 * The root key of the simulator at a loopback `ws://` address, which tells it at `/root-key`; null for any other
 * address, and for a simulator that does not say.
 */
export async function rootKeyOf(
  whatsappUrl: string,
  options: { readonly clock: Clock; readonly log: Logger },
): Promise<Uint8Array | null> {
  if (!isSimulatorUrl(whatsappUrl)) return null
  const abort = new AbortController()
  const timer = options.clock.setTimer(DEADLINE_MS, () => abort.abort())
  try {
    const { host } = new URL(whatsappUrl)
    const response = await fetch(`http://${host}/root-key`, { signal: abort.signal })
    const { publicKey } = (await response.json()) as { publicKey?: unknown }
    if (typeof publicKey !== 'string') throw new Error('it has no publicKey')
    return Buffer.from(publicKey, 'base64')
  } catch (error) {
    options.log.warn({ err: error }, 'the simulator tells no root key; its certificates may be refused')
    return null
  } finally {
    timer.cancel()
  }
}
